"""Precisions that a file could have, for ``bigfoot export --tune`` to measure."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from bigfoot.compress.quantize import Int8Plan, dynamic_plan, quantizable_layers
from bigfoot.export.layers import Cutter, record_layers
from bigfoot.export.onnx import OnnxExport, build_onnx
from bigfoot.export.replay import Replay
from bigfoot.formats.folder import LoadedModel
from bigfoot.measure.speed import make_samples, time_rounds
from bigfoot.runtime.onnx_engine import session_options

FP32 = "fp32"
_SECONDS, _ROUNDS = 3.0, 5
_CONVOLUTIONS = "feature_extractor."


def list_candidates(
    loaded: LoadedModel, static: Int8Plan, int8: Sequence[str], *, halves: bool = False
) -> dict[str, Int8Plan]:
    """List what a target can hold of a model, fp32 first.

    Args:
        loaded: with a CTC head.
        static: all layers in int8 with measured ranges.
        int8: kinds of int8 that the target has.
        halves: whether its runtime computes in bfloat16 what is not int8.

    Returns:
        Plans by name. ``mixed`` leaves in fp32 what int8 makes slower here, each layer measured by itself.
    """
    found = {FP32: Int8Plan()}
    if "static" in int8:
        found["int8 static"] = static
    if "dynamic" in int8:
        found["int8 dynamic"] = dynamic_plan(loaded.model)
        slow = find_slow_layers(loaded, static)
        if slow and len(slow) < len(static.ranges):
            found["int8 static, mixed"] = static.without(slow)
    if halves:
        found["bfloat16"] = Int8Plan(rest="bfloat16")
        # Two bytes for what goes into convolutions cost more than their products gain over bfloat16.
        convolutions = [name for name in static.ranges if name.startswith(_CONVOLUTIONS)]
        found["int8 static and bfloat16"] = replace(static.without(convolutions), rest="bfloat16")
    return found


@torch.no_grad()
def find_slow_layers(loaded: LoadedModel, plan: Int8Plan) -> list[str]:
    """Find the layers whose product is slower in int8 than in fp32 in ONNX Runtime here.

    Args:
        loaded: with a CTC head.
        plan: layers in int8.
    """
    model = loaded.model.float().eval()
    exports = {name: build_onnx(loaded, each) for name, each in ((FP32, Int8Plan()), ("int8", plan))}
    seen, _ = record_layers(model, exports[FP32].layers, make_samples(_SECONDS), Replay(model))
    layers, slow = quantizable_layers(model), dict[tuple[object, ...], bool]()
    found = []
    for name in plan.ranges:
        if name not in seen or any(name not in exported.layers for exported in exports.values()):
            continue
        given, output = seen[name]
        # Layers of one shape take one time.
        strands, size = len(exports["int8"].layers[name][0]), sum(x.numel() for x in layers[name].parameters())
        shape = (given.shape, output.shape, name in plan.fine, strands, size)
        if shape not in slow:
            slow[shape] = _is_slower(exports, name, given)
        if slow[shape]:
            found.append(name)
    return found


def _is_slower(exports: dict[str, OnnxExport], name: str, given: np.ndarray) -> bool:
    import onnxruntime

    passes = {}
    for kind, exported in exports.items():
        inputs, outputs = exported.layers[name]
        piece = Cutter(exported.graph).cut(inputs, outputs)
        session = onnxruntime.InferenceSession(piece.SerializeToString(), session_options(1))
        parts = map(np.ascontiguousarray, np.split(given, len(inputs), axis=-1))
        fed = dict(zip(inputs, parts, strict=True))
        passes[kind] = lambda session=session, outputs=outputs, fed=fed: session.run(outputs, fed)
    times = time_rounds(passes, _ROUNDS, clock=time.process_time)
    return min(times["int8"]) > min(times[FP32])
