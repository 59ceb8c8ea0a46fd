"""How far each layer of a graph is from the same layer in PyTorch, when it is given what PyTorch's is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from bigfoot.models.ctc import BigfootForCTC

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


@dataclass(frozen=True)
class LayerError:
    """A layer by itself, so that what came wrong into it does not count.

    Args:
        name: of the module in the encoder.
        error: root mean square of the difference over that of PyTorch's answer.
    """

    name: str
    error: float

    def __str__(self) -> str:
        return f"{self.name} ({self.error:.2%} off)"


@torch.no_grad()
def measure_layers(
    model: BigfootForCTC, graph: ModelProto, ends: Mapping[str, tuple[list[str], list[str]]], input_values: Tensor
) -> list[LayerError]:
    """Compare layers one by one.

    Args:
        model: in eval mode.
        graph: written from it.
        ends: tensors that go into each layer and come out of it; see ``GraphWriter.layers``.
        input_values: (1, N), an utterance without padding, normalized.

    Returns:
        The worst first.
    """
    heard = _listen(model, ends, input_values)
    cutter = _Cutter(graph)
    errors = []
    for name, (given, expected) in heard.items():
        inputs, outputs = ends[name]
        found = cutter.run(inputs, outputs, np.split(given, len(inputs), axis=-1))
        difference = np.concatenate(found, axis=-1).reshape(expected.shape) - expected
        size = float(np.sqrt(np.mean(np.square(expected)))) or 1.0
        errors.append(LayerError(name, float(np.sqrt(np.mean(np.square(difference)))) / size))
    return sorted(errors, key=lambda layer: -layer.error)


def _listen(
    model: BigfootForCTC, ends: Mapping[str, tuple[list[str], list[str]]], input_values: Tensor
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What goes into each layer and comes out of it in PyTorch, features last."""
    modules = dict(model.speech_encoder.named_modules())
    heard: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def keep(name: str, module: nn.Module, given: Tensor, answer: Tensor) -> None:
        if not isinstance(module, nn.Linear):
            given, answer = given.transpose(1, 2), answer.transpose(1, 2)
        if name.startswith("encoder.pos_conv_embed"):
            answer = answer[:, : given.shape[1]]  # An even kernel gives a frame too many.
        # Copied, for the activation that follows a convolution works in place.
        heard[name] = given.numpy().copy(), answer.numpy().copy()

    handles = [
        modules[name].register_forward_hook(
            lambda module, given, answer, name=name: keep(name, module, given[0], answer)
        )
        for name in ends
        if name in modules
    ]
    try:
        model(input_values)
    finally:
        for handle in handles:
            handle.remove()
    return heard


class _Cutter:
    """Runs pieces of a graph."""

    def __init__(self, graph: ModelProto) -> None:
        self.graph = graph
        self.makers = {output: node for node in graph.graph.node for output in node.output}
        self.constants = {constant.name: constant for constant in graph.graph.initializer}

    def run(self, inputs: list[str], outputs: list[str], given: list[np.ndarray]) -> list[np.ndarray]:
        import onnxruntime
        from onnx import TensorProto, helper

        nodes, constants = self._between(inputs, outputs)
        piece = helper.make_graph(
            nodes,
            "layer",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inputs],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [self.constants[name] for name in constants],
        )
        model = helper.make_model(piece, opset_imports=self.graph.opset_import, ir_version=self.graph.ir_version)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        return session.run(outputs, dict(zip(inputs, map(np.ascontiguousarray, given), strict=True)))

    def _between(self, inputs: list[str], outputs: list[str]) -> tuple[list[NodeProto], list[str]]:
        wanted, seen = list(outputs), set(inputs)
        needed: set[str] = set()
        constants = []
        while wanted:
            name = wanted.pop()
            if name in seen or not name:
                continue
            seen.add(name)
            if name in self.constants:
                constants.append(name)
            else:
                needed.add(self.makers[name].name)
                wanted += self.makers[name].input
        return [node for node in self.graph.graph.node if node.name in needed], constants
