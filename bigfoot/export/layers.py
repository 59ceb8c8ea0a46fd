"""Error of each layer of a graph against the same layer in PyTorch, with the same input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from bigfoot.export.replay import Replay
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.runtime.onnx_engine import session_options

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


RunPiece: TypeAlias = "Callable[[ModelProto, dict[str, np.ndarray], list[str]], list[np.ndarray]]"
"""From a graph, its inputs by name and the names of its outputs to these."""


@dataclass(frozen=True)
class LayerError:
    """Error of a layer by itself, without the error of its input.

    Args:
        name: of the module in the encoder.
        error: root mean square of the difference over that of PyTorch's output.
        effect: largest difference of a logit where this layer alone is the file's; None where that was not measured.
        noise: root mean square of the same differences; 0 where they were not measured.
    """

    name: str
    error: float
    effect: float | None = None
    noise: float = 0.0

    def __str__(self) -> str:
        moved = "" if self.effect is None else f", moves logits by {self.effect:.2g}"
        return f"{self.name} ({self.error:.2%} off{moved})"


def run_in_onnxruntime(graph: ModelProto, given: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
    """Run a graph once, one thread."""
    import onnxruntime

    return onnxruntime.InferenceSession(graph.SerializeToString(), session_options(1)).run(outputs, given)


@torch.no_grad()
def measure_layers(
    model: BigfootForCTC,
    graph: ModelProto,
    ends: Mapping[str, tuple[list[str], list[str]]],
    input_values: Tensor,
    run: RunPiece = run_in_onnxruntime,
    *,
    effects: bool = False,
) -> list[LayerError]:
    """Compare layers one by one.

    Args:
        model: in eval mode.
        graph: written from it.
        ends: tensors that go into each layer and come out of it; see ``GraphWriter.layers``.
        input_values: (1, N), an utterance without padding, normalized.
        run: what runs the pieces.
        effects: measure too what each layer does to the logits, which takes a pass of the model a layer, from that
            layer on.

    Returns:
        The worst first: by effect where that is measured, else by error.
    """
    replay = Replay(model)
    recorded, logits = record_layers(model, ends, input_values, replay)
    cutter = Cutter(graph)
    errors = []
    for name, (given, expected) in recorded.items():
        inputs, outputs = ends[name]
        parts = map(np.ascontiguousarray, np.split(given, len(inputs), axis=-1))
        found = run(cutter.cut(inputs, outputs), dict(zip(inputs, parts, strict=True)), outputs)
        output = np.concatenate(found, axis=-1).reshape(expected.shape)
        size = float(np.sqrt(np.mean(np.square(expected)))) or 1.0
        error = float(np.sqrt(np.mean(np.square(output - expected)))) / size
        if not effects:
            errors.append(LayerError(name, error))
            continue
        with replay.beginning_at(_modules(model)[name]):
            moved = (_replaced(model, name, given, output, input_values) - logits).nan_to_num(torch.inf)
        effect, noise = (float(moved.abs().max()), float(moved.square().mean().sqrt())) if moved.numel() else (0.0, 0.0)
        errors.append(LayerError(name, error, effect, noise))
    return sorted(errors, key=lambda layer: (-(layer.effect or 0.0), -layer.error))


def record_layers(
    model: BigfootForCTC, ends: Mapping[str, tuple[list[str], list[str]]], input_values: Tensor, replay: Replay
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], Tensor]:
    """Record inputs and outputs of each layer in PyTorch, features last; and the logits.

    Args:
        model: in eval mode.
        ends: see ``measure_layers``.
        input_values: see there.
        replay: records what parts of the model give.
    """
    modules = _modules(model)
    recorded: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def keep(name: str, module: nn.Module, given: Tensor, output: Tensor) -> None:
        given, output = _features_last(module, given), _features_last(module, output)
        if name.startswith("encoder.pos_conv_embed"):
            stride = getattr(module, "stride", (1,))[0]
            output = output[:, : -(-given.shape[1] // stride)]  # An even kernel gives a frame too many.
        # Copied, for the activation that follows a convolution works in place.
        recorded[name] = given.numpy().copy(), output.numpy().copy()

    handles = [
        modules[name].register_forward_hook(
            lambda module, given, output, name=name: keep(name, module, given[0], output)
        )
        for name in ends
        if name in modules
    ]
    try:
        with replay.recording(modules[name] for name in ends if name in modules):
            logits = model(input_values).logits
    finally:
        for handle in handles:
            handle.remove()
    return recorded, logits


def _modules(model: BigfootForCTC) -> dict[str, nn.Module]:
    found = dict(model.speech_encoder.named_modules())
    return found if model.head is None else {**found, "lm_head": model.head}


def _features_last(module: nn.Module, x: Tensor) -> Tensor:
    return x if isinstance(module, nn.Linear) else x.transpose(1, 2)


def _replaced(model: BigfootForCTC, name: str, given: np.ndarray, output: np.ndarray, input_values: Tensor) -> Tensor:
    """Logits where a layer gives something else for what it was given."""

    def give(module: nn.Module, inputs: tuple[Tensor, ...], own: Tensor) -> Tensor | None:
        # A shared layer is called more than once; what was recorded is of one of these times.
        if not np.array_equal(_features_last(module, inputs[0]).numpy(), given):
            return None
        replaced = _features_last(module, own).clone()
        replaced[:, : output.shape[1]] = torch.from_numpy(np.ascontiguousarray(output))
        return _features_last(module, replaced)

    handle = _modules(model)[name].register_forward_hook(give)
    try:
        return model(input_values).logits
    finally:
        handle.remove()


class Cutter:
    """Cuts pieces out of a graph.

    Args:
        graph: with nodes that have different names.
    """

    def __init__(self, graph: ModelProto) -> None:
        self.graph = graph
        self.makers = {output: node for node in graph.graph.node for output in node.output}
        self.constants = {constant.name: constant for constant in graph.graph.initializer}

    def cut(self, inputs: list[str], outputs: list[str]) -> ModelProto:
        """Return the piece between some tensors.

        Args:
            inputs: names of tensors that go in.
            outputs: names of those that come out.
        """
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
