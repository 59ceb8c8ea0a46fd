"""Nodes and constants of an ONNX graph, written one after the other, and products in fp32 or int8."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from bigfoot.compress.quantize import Int8Plan, Range
from bigfoot.export.packed import StoredWeight, write_product
from bigfoot.models.fake_int8 import LEVELS, MIDDLE, static_scale
from bigfoot.models.small_weights import quantize_weight

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Attribute: TypeAlias = int | float | str | list[int]
OPSET, IR_VERSION = 20, 10


class Plane(NamedTuple):
    """Input of a product: numbers, or unsigned bytes with their scale and the byte that stands for zero."""

    values: str
    scale: str = ""
    offset: str = ""


@dataclass
class GraphWriter:
    """Builder of an ONNX graph; a value is the name of a tensor.

    Args:
        plan: layers that compute in int8, and the ranges of what goes into them.
        part: of the model, with which the names of nodes start from now on.
        stored: weights that are written in four, two or eight bits; see ``bigfoot.export.packed``.
        standard: write int8 products with standard operators, which a runtime fuses, and not with ONNX Runtime's own.
    """

    plan: Int8Plan = field(default_factory=Int8Plan)
    part: str = ""
    stored: Mapping[str, StoredWeight] = field(default_factory=dict)
    standard: bool = False
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    layers: dict[str, tuple[list[str], list[str]]] = field(default_factory=dict)
    """Inputs and outputs of each layer, channels split where a layer is computed in groups."""
    _quantized: dict[tuple[str, Range | None], Plane] = field(default_factory=dict)
    _rests: dict[Plane, Plane] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Return whether sums over time must come out the same in any order; see ``bigfoot.export.statistics``."""
        return bool(self.plan.ranges) and self.plan.is_static

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Attribute) -> str:
        """Add a node with one output."""
        return self.ops(kind, *inputs, count=1, domain=domain, **attributes)[0]

    def ops(self, kind: str, *inputs: str, count: int, domain: str = "", **attributes: Attribute) -> list[str]:
        """Add a node with several outputs."""
        from onnx import helper

        name = f"{self.part}/{kind}_{len(self.nodes)}"
        outputs = [f"{name}:{index}" for index in range(count)]
        make: Callable[..., NodeProto] = helper.make_node
        self.nodes.append(make(kind, inputs, outputs, name, domain=domain, **attributes))
        return outputs

    def constant(self, value: np.ndarray | Tensor | float, dtype: type = np.float32) -> str:
        """Add a constant; a small one that is there already is used again."""
        array = np.ascontiguousarray(value.detach().numpy() if isinstance(value, Tensor) else value)
        array = array.astype(dtype) if array.dtype.kind == "f" else array
        if array.size <= 4:
            for name, other in self.constants.items():
                if other.dtype == array.dtype and other.shape == array.shape and np.array_equal(other, array):
                    return name
        name = f"constant_{len(self.constants)}"
        self.constants[name] = array
        return name

    def ints(self, *values: int) -> str:
        """Write a constant list of integers."""
        return self.constant(np.array(values, np.int64))

    def size(self, x: str, axis: int) -> str:
        """Write the size of an axis, (1,)."""
        return self.op("Shape", x, start=axis, end=axis + 1)

    def pad(self, x: str, axis: int, before: int, after: str | int, rank: int) -> str:
        """Pad an axis with zeros; ``after`` is a number or a tensor (1,)."""
        last = self.ints(after) if isinstance(after, int) else after
        return self.op("Pad", x, self.op("Concat", self.ints(before), last, axis=0), "", self.ints(axis % rank))

    def add(self, first: str, *others: str) -> str:
        """Sum tensors from left to right; of one it is that one."""
        return reduce(lambda total, x: self.op("Add", total, x), others, first)

    def concat(self, parts: Sequence[str], axis: int = -1) -> str:
        """Join; of one part it is that part."""
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=axis)

    def split(self, x: str, parts: int, axis: int = -1) -> list[str]:
        """Split into equal parts."""
        return [x] if parts == 1 else self.ops("Split", x, count=parts, axis=axis, num_outputs=parts)

    def slice(self, x: str, start: int, end: str, axis: int, step: int = 1) -> str:
        """Take every ``step``-th from ``start`` to before ``end``, a tensor (1,)."""
        return self.op("Slice", x, self.ints(start), end, self.ints(axis), self.ints(step))

    def quantize(self, x: str, found: Range | None) -> Plane:
        """Quantize a tensor to unsigned eight bits."""
        if (x, found) not in self._quantized:
            if found is None:
                integers, scale, zero = self.ops("DynamicQuantizeLinear", x, count=3)
            else:
                step, offset = static_scale(*found)
                scale, zero = self.constant(np.array(step)), self.constant(np.array(offset, np.uint8))
                integers = self.op("QuantizeLinear", x, scale, zero)
            self._quantized[x, found] = Plane(integers, scale, zero)
        return self._quantized[x, found]

    def prepare(self, x: str, layer: str) -> list[Plane]:
        """Return the input of a layer's product: ``x`` itself, or its integers where the layer computes in int8.

        Args:
            x: tensor.
            layer: its name.

        Returns:
            One plane, or two whose products are summed.
        """
        if layer not in self.plan.ranges:
            return [Plane(x)]
        coarse = self.quantize(x, self.plan.ranges[layer])
        if layer not in self.plan.fine:
            return [coarse]
        if coarse not in self._rests:
            given = (coarse.values, coarse.scale, coarse.offset)
            rest = self.op("Sub", x, self.op("DequantizeLinear", *given))
            step = self.op("Div", coarse.scale, self.constant(np.array(float(LEVELS))))
            middle = self.constant(np.array(MIDDLE, np.uint8))
            self._rests[coarse] = Plane(self.op("QuantizeLinear", rest, step, middle), step, middle)
        return [coarse, self._rests[coarse]]

    def product(
        self, planes: Sequence[Plane], weight: Tensor, bias: Tensor | None, layer: str = "",
        part: tuple[int, int] = (0, 1),
    ) -> str:  # fmt: skip
        """Multiply what ``prepare`` gave, (..., features in), by a weight.

        Args:
            planes: see ``prepare``.
            weight: (features in, features out).
            bias: (features out,).
            layer: whose weight it is, where it is the layer's own.
            part: which of how many equal parts of its channels, where it is not the whole.

        Returns:
            (..., features out) in fp32.
        """
        if not planes[0].scale:
            if layer in self.stored:
                y = write_product(self, planes[0].values, self.stored[layer].part(*part))
            else:
                y = self.op("MatMul", planes[0].values, self.constant(weight))
            return y if bias is None else self.op("Add", y, self.constant(bias))
        integers, scales = quantize_weight(weight, axis=1)
        kernel, steps = self.constant(integers), self.constant(scales)
        if self.standard:
            zeros = self.constant(np.zeros_like(integers[0]))
            weights = self.op("DequantizeLinear", kernel, steps, zeros, axis=1)
            sums = [self.op("MatMul", self.op("DequantizeLinear", *plane), weights) for plane in planes]
            return self.add(*sums, *([] if bias is None else [self.constant(bias)]))
        sums = []
        for index, plane in enumerate(planes):
            last = self.constant(bias) if bias is not None and index == 0 else ""
            # Unsigned times signed: the one pair for which processors have instructions, and ONNX Runtime uses them.
            given = (plane.values, kernel, plane.scale, steps, plane.offset, "", last)
            sums.append(self.op("MatMulIntegerToFloat", *given, domain="com.microsoft"))
        return self.add(*sums)

    def build(
        self, inputs: Mapping[str, tuple[int, Sequence[str | int]]],
        outputs: Mapping[str, tuple[str, int, Sequence[str | int]]],
    ) -> ModelProto:  # fmt: skip
        """Close the graph.

        Args:
            inputs: element type and axes by name.
            outputs: tensor, element type and axes by name.
        """
        from onnx import helper, numpy_helper

        ends = [helper.make_node("Identity", [value], [name]) for name, (value, _, _) in outputs.items()]
        graph = helper.make_graph(
            [*self.nodes, *ends],
            "bigfoot",
            [helper.make_tensor_value_info(name, kind, axes) for name, (kind, axes) in inputs.items()],
            [helper.make_tensor_value_info(name, kind, axes) for name, (_, kind, axes) in outputs.items()],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        imports = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION, producer_name="bigfoot")


def transposed(weight: Tensor) -> Tensor:
    """Return (out, in) of a linear map, or (out, in, 1), as (in, out)."""
    return torch.as_tensor(weight).detach().flatten(1).T
