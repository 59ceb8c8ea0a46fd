"""Weights of four and two bits in an ONNX graph: as many bytes as in the folder, and the same numbers.

Linear maps of four bits are ONNX Runtime's operator MatMulNBits, which computes in fp32 and keeps them packed in
memory. All others are brought to fp32 by standard operators on constants, which a runtime folds once when it opens the
file: two bits are slower than fp32 in MatMulNBits (1.3 times on 500 frames, 5 times on 16), and it has no
convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor

from bigfoot.compress.quantize import quantizable_layers
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.packed import STEPS, as_matrix, pack_codes, quantize_groups
from bigfoot.models.small_state import channel_axes
from bigfoot.models.small_weights import quantize_weight

_FLOAT = 1
_EXACT = 1
"""Of MatMulNBits: sums in fp32, of inputs as they are."""
_OPERATOR = 4


class Writer(Protocol):
    """What of ``GraphWriter`` is needed here."""

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: int | float | str | list[int]) -> str:
        """Add a node with one output."""

    def constant(self, value: np.ndarray | Tensor | float, dtype: type = np.float32) -> str:
        """Add a constant."""

    def ints(self, *values: int) -> str:
        """Write a constant list of integers."""


@dataclass(frozen=True)
class StoredWeight:
    """A weight as it is stored.

    Args:
        codes: uint8, (out, in * bits / 8), packed; or int8, (out, in), where ``bits`` is 8.
        steps: (out, groups).
        bits: of an integer.
        columns: numbers in a row.
    """

    codes: Tensor
    steps: Tensor
    bits: int
    columns: int

    def part(self, index: int, count: int) -> StoredWeight:
        """Return one of equal parts of its rows."""
        return StoredWeight(self.codes.chunk(count)[index], self.steps.chunk(count)[index], self.bits, self.columns)


def find_stored(model: BigfootForCTC) -> dict[str, StoredWeight]:
    """Return the weights of a packed model by layer; none of any other model.

    Args:
        model: of a folder of precision ``packed``.
    """
    small = model.config.small
    if small is None or not small.bits:
        return {}
    found = {}
    for name, layer in quantizable_layers(model).items():
        weight = cast("Tensor", layer.weight).detach().float()
        if name in small.bits:
            bits, steps = small.bits[name], cast("Tensor", getattr(layer, STEPS)).float()
            matrix = as_matrix(weight)
            codes = pack_codes(quantize_groups(matrix, steps, bits), bits)
            found[name] = StoredWeight(codes, steps, bits, matrix.shape[1])
        elif not small.keeps(name) and channel_axes(f"{name}.weight") == (0,):
            codes, scales = quantize_weight(weight)
            matrix = as_matrix(codes)
            found[name] = StoredWeight(matrix, scales[:, None], 8, matrix.shape[1])
    return found


def write_product(g: Writer, x: str, stored: StoredWeight) -> str:
    """Multiply by a stored weight.

    Args:
        g: to write to.
        x: (..., in).
        stored: (out, in).

    Returns:
        (..., out).
    """
    if stored.bits != _OPERATOR:
        return g.op("MatMul", x, g.op("Transpose", write_matrix(g, stored), perm=[1, 0]))
    rows, groups = stored.steps.shape
    codes = g.constant(stored.codes.view(rows, groups, -1).numpy())
    steps = g.op("Cast", g.constant(stored.steps.half().numpy().flatten(), np.float16), to=_FLOAT)
    return g.op(
        "MatMulNBits", x, codes, steps, domain="com.microsoft", K=stored.columns, N=rows, bits=stored.bits,
        block_size=stored.columns // groups, accuracy_level=_EXACT,
    )  # fmt: skip


def write_matrix(g: Writer, stored: StoredWeight) -> str:
    """Write a stored weight in fp32, (out, in), by operators on constants.

    Args:
        g: to write to.
        stored: what is stored.
    """
    rows, groups = stored.steps.shape
    if stored.bits == 8:
        numbers = g.op("Cast", g.constant(stored.codes.numpy()), to=_FLOAT)
        return g.op("Mul", numbers, g.constant(stored.steps))
    packed, each = g.constant(stored.codes.numpy()), 8 // stored.bits
    mask = g.constant(np.array(2**stored.bits - 1, np.uint8))
    planes = []
    for place in range(each):
        shift = g.constant(np.array(place * stored.bits, np.uint8))
        moved = g.op("BitShift", packed, shift, direction="RIGHT") if place else packed
        planes.append(g.op("Unsqueeze", g.op("BitwiseAnd", moved, mask), g.ints(2)))
    numbers = g.op("Cast", g.op("Concat", *planes, axis=2), to=_FLOAT)
    centred = g.op("Sub", numbers, g.constant(np.array(float(2 ** (stored.bits - 1)))))
    steps = g.op("Cast", g.constant(stored.steps.half().numpy()[:, :, None], np.float16), to=_FLOAT)
    scaled = g.op("Mul", g.op("Reshape", centred, g.ints(rows, groups, -1)), steps)
    return g.op("Reshape", scaled, g.ints(rows, stored.columns))


def write_kernel(g: Writer, stored: StoredWeight, shape: torch.Size) -> str:
    """Write the stored kernel of a convolution in fp32, (out, in, width).

    Args:
        g: to write to.
        stored: what is stored.
        shape: of the kernel.
    """
    out, channels, width = shape
    taps = g.op("Reshape", write_matrix(g, stored), g.ints(out, width, channels))
    return g.op("Transpose", taps, perm=[0, 2, 1])

