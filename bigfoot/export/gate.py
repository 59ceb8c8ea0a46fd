"""The gate: an exported file gives its model's outputs on real audio, or there is no file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from bigfoot.compress.quantize import Int8Plan
from bigfoot.data.batches import LoadedUtterance
from bigfoot.errors import ExportError
from bigfoot.export.alone import ModelOutputs
from bigfoot.export.exported import Exported
from bigfoot.export.fallback import choose_layers
from bigfoot.export.layers import LayerError
from bigfoot.export.onnx import build_onnx
from bigfoot.export.parity import Parity, ParityLimits, find_worst, measure_parity
from bigfoot.formats.folder import LoadedModel
from bigfoot.progress import show_work

Build: TypeAlias = Callable[..., Exported]

_NAMED = 5
_MATTERS = 0.1
"""Share of the worst layer's effect from which on a layer is named."""


def export_checked(
    loaded: LoadedModel,
    plan: Int8Plan | None,
    utterances: Sequence[LoadedUtterance],
    *,
    build: Build = build_onnx,
    normalize: bool = False,
    limits: ParityLimits | None = None,
    fallback: bool = False,
    on_note: Callable[[str], None] = lambda _: None,
) -> tuple[Exported, Parity]:
    """Build a file that has passed the gate.

    Args:
        loaded: with a CTC head.
        plan: layers in int8; None for fp32.
        utterances: on which it is judged.
        build: what writes it, from model and plan.
        normalize: inside the file.
        limits: what is too far.
        fallback: bring the int8 layers that move the logits most back to fp32, as many as ``choose_layers`` finds from
            the logits of the refused file, and more where that file is refused too, until one passes.
        on_note: called with a line for each layer brought back.

    Returns:
        The file and what was measured.

    Raises:
        ExportError: it does not pass; with the worst layers.
    """
    limits = limits or ParityLimits()
    outputs = ModelOutputs(loaded)
    with show_work("building the file"):
        exported = build(loaded, plan, normalize=normalize)
    parity = measure_parity(loaded, exported, utterances, limits, outputs)
    # Ranked once: what a layer does by itself does not depend on the others.
    worst = find_worst(loaded, exported, utterances, effects=True) if parity.problems else []
    inexact, at_least = [layer for layer in worst if layer.name in exported.plan.ranges], 1
    while parity.problems:
        if not fallback or not inexact:
            raise ExportError(_refusal(parity, worst, exported))
        assert parity.alone is not None
        now = choose_layers(inexact, parity.alone, limits, at_least)
        inexact, at_least = [layer for layer in inexact if layer not in now], 2 * at_least
        on_note(f"in fp32, for {'; '.join(parity.problems)}: {', '.join(map(str, now))}")
        exported = build(loaded, exported.plan.without(layer.name for layer in now), normalize=normalize)
        parity = measure_parity(loaded, exported, utterances, limits, outputs)
    if exported.plan.is_exact or not parity.batch_difference:
        return exported, parity
    # What a file states about batches was measured, on the runtime and the processor at hand.
    on_note(
        f"logits move by {parity.batch_difference:.2g} with the batch, {parity.batch_texts_changed} texts change: the "
        "file is marked to run one utterance at a time"
    )
    exported = build(loaded, exported.plan, normalize=normalize, batch_invariant=False)
    return exported, replace(parity, batch_difference=None, batch_texts_changed=0)


def _refusal(parity: Parity, worst: Sequence[LayerError], exported: Exported) -> str:
    most = max((layer.effect or 0.0 for layer in worst), default=0.0)
    named = ", ".join(str(layer) for layer in worst[:_NAMED] if (layer.effect or 0.0) >= _MATTERS * most)
    layers = f". Layers that matter most, each by themselves: {named}" if named else ""
    cure = "; --fallback computes the worst layers in fp32" if exported.plan.ranges else ""
    return (
        f"refused, nothing was written: {'; '.join(parity.problems)} (on {parity.num_utterances} utterances; "
        f"{parity.describe()}){layers}{cure}"
    )
