"""How far each layer of a graph is from the same layer in PyTorch, when it is given what PyTorch's is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from bigfoot.models.ctc import BigfootForCTC

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


RunPiece: TypeAlias = "Callable[[ModelProto, dict[str, np.ndarray], list[str]], list[np.ndarray]]"
"""From a graph, its inputs by name and the names of its outputs to these."""


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


def run_in_onnxruntime(graph: ModelProto, given: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
    """Run a graph once, one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph.SerializeToString(), options).run(outputs, given)


@torch.no_grad()
def measure_layers(
    model: BigfootForCTC,
    graph: ModelProto,
    ends: Mapping[str, tuple[list[str], list[str]]],
    input_values: Tensor,
    run: RunPiece = run_in_onnxruntime,
) -> list[LayerError]:
    """Compare layers one by one.

    Args:
        model: in eval mode.
        graph: written from it.
        ends: tensors that go into each layer and come out of it; see ``GraphWriter.layers``.
        input_values: (1, N), an utterance without padding, normalized.
        run: what runs the pieces.

    Returns:
        The worst first.
    """
    heard = _listen(model, ends, input_values)
    cutter = _Cutter(graph)
    errors = []
    for name, (given, expected) in heard.items():
        inputs, outputs = ends[name]
        parts = map(np.ascontiguousarray, np.split(given, len(inputs), axis=-1))
        found = run(cutter.cut(inputs, outputs), dict(zip(inputs, parts, strict=True)), outputs)
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
    """Cuts pieces out of a graph."""

    def __init__(self, graph: ModelProto) -> None:
        self.graph = graph
        self.makers = {output: node for node in graph.graph.node for output in node.output}
        self.constants = {constant.name: constant for constant in graph.graph.initializer}

    def cut(self, inputs: list[str], outputs: list[str]) -> ModelProto:
        from onnx import TensorProto, helper

        nodes, constants = self._between(inputs, outputs)
        piece = helper.make_graph(
            nodes,
            "layer",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inputs],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [self.constants[name] for name in constants],
        )
        return helper.make_model(piece, opset_imports=self.graph.opset_import, ir_version=self.graph.ir_version)

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
