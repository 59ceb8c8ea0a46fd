"""The gate: an exported file answers as its model does on real audio, or there is no file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch

from bigfoot.compress.quantize import Int8Plan
from bigfoot.data.batches import Batch, LoadedUtterance, collate
from bigfoot.errors import ExportError
from bigfoot.export.exported import Exported
from bigfoot.export.layers import LayerError
from bigfoot.export.onnx import build_onnx
from bigfoot.formats.folder import LoadedModel
from bigfoot.measure.error_rate import PairedDifference, compare_paired
from bigfoot.text.tokenizer import Tokenizer

Build: TypeAlias = Callable[..., Exported]

BATCH_SIZES = (2, 4, 8)
_NAMED = 5


@dataclass(frozen=True)
class ParityLimits:
    """How far a file may be from its model.

    Args:
        logits: largest difference of a logit of an fp32 file, and of any file between an utterance alone and in a
            batch; int8 is judged by its texts.
        wer: by how much the word error rate may rise, as a fraction.
        layers: how far an int8 layer may be from the model's by itself, given the same; for a model whose layers
            round as the file's do. None where they do not.
        texts: whether an int8 file is judged by its texts; not on noise, in which nobody says anything.
    """

    logits: float = 1e-4
    wer: float = 0.005
    layers: float | None = None
    texts: bool = True


@dataclass(frozen=True)
class Parity:
    """What the gate measured.

    Args:
        max_difference: largest difference of a logit on real frames, each utterance alone.
        wer: the file's word error rate less the model's, with interval. Where no transcripts are given, the model's
            own texts are the reference.
        texts_changed: utterances of which the file hears something else than the model.
        num_utterances: compared.
        batch_difference: largest difference of a logit between alone and in a batch; None where the file runs one
            utterance at a time.
        batch_texts_changed: utterances whose text depends on the batch.
        problems: what is past its limit, a sentence each.
        worst_layer: where layers were compared one by one.
        judges_texts: whether texts were; where they were not, they say nothing.
    """

    max_difference: float
    wer: PairedDifference
    texts_changed: int
    num_utterances: int
    batch_difference: float | None
    batch_texts_changed: int
    problems: tuple[str, ...] = ()
    worst_layer: LayerError | None = None
    judges_texts: bool = True

    def describe(self) -> str:
        """A line for people.

        Example:
            >>> wer = PairedDifference(0.001, -0.002, 0.004, 0.4, "utterance")
            >>> Parity(0.02, wer, 1, 60, 0.0, 0).describe()
            'logits within 0.02; WER +0.10 points [-0.20, 0.40]; 1 of 60 texts changed; in batches within 0'
        """
        if self.worst_layer is not None and not self.judges_texts:
            return f"each layer within {self.worst_layer.error:.1g} of the model's by itself; no texts were compared"
        points = [
            None if value is None else 100 * value for value in (self.wer.difference, self.wer.low, self.wer.high)
        ]
        rise, low, high = ("n/a" if value is None else f"{value:.2f}" for value in points)
        sign = "+" if (points[0] or 0) >= 0 else ""
        batches = "one utterance at a time" if self.batch_difference is None else (
            f"in batches within {self.batch_difference:.2g}"
        )  # fmt: skip
        heard = f"{self.texts_changed} of {self.num_utterances} texts changed"
        return f"logits within {self.max_difference:.2g}; WER {sign}{rise} points [{low}, {high}]; {heard}; {batches}"


def measure_parity(
    loaded: LoadedModel, exported: Exported, utterances: Sequence[LoadedUtterance], limits: ParityLimits
) -> Parity:
    """Compare a file with its model.

    Args:
        loaded: the model.
        exported: written from it.
        utterances: real audio, one or more, with transcripts or without.
        limits: what is too far.

    Returns:
        See ``Parity``.
    """
    run, tokenizer = _Runner(loaded, exported), loaded.processor.tokenizer
    ordered = sorted(utterances, key=lambda item: len(item.samples))
    expected = [answers_of_model(loaded, item) for item in ordered]
    alone = [run([item])[0] for item in ordered]
    differences = [_distance(ours, theirs) for ours, theirs in zip(expected, alone, strict=True)]
    texts, heard = [spell(x, tokenizer) for x in expected], [spell(x, tokenizer) for x in alone]
    references = [item.text for item in ordered] if any(item.text for item in ordered) else texts
    wer = compare_paired(references, texts, heard, [item.speaker for item in ordered])
    in_batches = [run.in_batches(ordered, size) for size in BATCH_SIZES] if exported.plan.is_static else []
    moved = [_distance(ours, theirs) for batch in in_batches for ours, theirs in zip(alone, batch, strict=True)]
    flipped = {
        row for batch in in_batches for row, answer in enumerate(batch) if spell(answer, tokenizer) != heard[row]
    }
    parity = Parity(
        max_difference=max(differences),
        wer=wer,
        texts_changed=sum(ours != theirs for ours, theirs in zip(texts, heard, strict=True)),
        num_utterances=len(ordered),
        batch_difference=max(moved, default=None),
        batch_texts_changed=len(flipped),
        worst_layer=None if limits.layers is None else find_worst(loaded, exported, utterances)[0],
        judges_texts=limits.texts,
    )
    return replace(parity, problems=tuple(_problems(parity, exported, limits)))


def _problems(parity: Parity, exported: Exported, limits: ParityLimits) -> list[str]:
    exact = not exported.plan.ranges
    problems = []
    # Not "greater than": a difference that is not a number is past any limit.
    if exact and not parity.max_difference <= limits.logits:
        problems.append(f"logits differ by {parity.max_difference:.2g}, and {limits.logits:g} is tolerated")
    worst = parity.worst_layer
    if worst is not None and limits.layers is not None and not worst.error <= limits.layers:
        problems.append(f"{worst.name} is {worst.error:.2%} off by itself, and {limits.layers:.2%} is tolerated")
    if not exact and limits.texts and not (parity.wer.difference or 0.0) <= limits.wer:
        rise = 100 * (parity.wer.difference or 0.0)
        problems.append(f"WER rises by {rise:.2f} points, and {100 * limits.wer:g} are tolerated")
    if not np.isfinite(parity.max_difference):
        problems.append("there are answers that are no numbers")
    if exact and parity.batch_difference is not None and not parity.batch_difference <= limits.logits:
        problems.append(f"an answer moves by {parity.batch_difference:.2g} with the batch it is in")
    if not exact and limits.texts and parity.batch_texts_changed:
        problems.append(f"{parity.batch_texts_changed} texts depend on the batch they are in")
    return problems


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
        fallback: bring the worst int8 layers back to fp32, ever more of them, until the file passes.
        on_note: told of every layer brought back.

    Returns:
        The file and what was measured.

    Raises:
        ExportError: it does not pass; with the worst layers.
    """
    limits, brought_back = limits or ParityLimits(), 1
    exported = build(loaded, plan, normalize=normalize)
    while True:
        parity = measure_parity(loaded, exported, utterances, limits)
        if not parity.problems:
            return exported, parity
        worst = find_worst(loaded, exported, utterances)
        inexact = [layer for layer in worst if layer.name in exported.plan.ranges][:brought_back]
        if not fallback or not inexact:
            raise ExportError(_refusal(parity, worst, exported))
        on_note(f"in fp32, for {'; '.join(parity.problems)}: {', '.join(map(str, inexact))}")
        exported = build(loaded, exported.plan.without(layer.name for layer in inexact), normalize=normalize)
        brought_back *= 2


def find_worst(loaded: LoadedModel, exported: Exported, utterances: Sequence[LoadedUtterance]) -> list[LayerError]:
    """Layers of a file by how far they are from the model's, the worst first.

    Args:
        loaded: the model.
        exported: written from it.
        utterances: the one of middle length is listened to.
    """
    middle = sorted(utterances, key=lambda item: len(item.samples))[len(utterances) // 2]
    return exported.rank_layers(loaded.model, _collate([middle], loaded).input_values)


def _refusal(parity: Parity, worst: Sequence[LayerError], exported: Exported) -> str:
    named = ", ".join(map(str, worst[:_NAMED]))
    layers = f". Layers that are farthest off by themselves: {named}" if named else ""
    cure = "; --fallback computes the worst layers in fp32" if exported.plan.ranges else ""
    return (
        f"refused, nothing was written: {'; '.join(parity.problems)} (on {parity.num_utterances} utterances; "
        f"{parity.describe()}){layers}{cure}"
    )


def _collate(items: Sequence[LoadedUtterance], loaded: LoadedModel) -> Batch:
    return collate(items, replace(loaded.processor, tokenizer=None))


@torch.no_grad()
def answers_of_model(loaded: LoadedModel, item: LoadedUtterance) -> np.ndarray:
    """What a model says of an utterance alone, (T, V).

    Args:
        loaded: with a CTC head.
        item: the utterance.
    """
    batch = _collate([item], loaded)
    output = loaded.model(batch.input_values, batch.attention_mask)
    return output.logits[0, : int(output.frame_mask.sum())].numpy()


class _Runner:
    """Runs a file as a runtime does."""

    def __init__(self, loaded: LoadedModel, exported: Exported) -> None:
        self.run = exported.open()
        inside = exported.facts["do_normalize"] == "inside"
        processor = replace(loaded.processor, tokenizer=None)
        self.processor = replace(processor, do_normalize=False) if inside else processor

    def __call__(self, items: Sequence[LoadedUtterance]) -> list[np.ndarray]:
        batch = collate(items, self.processor)
        logits, frames = self.run(batch.input_values.numpy(), batch.attention_mask.sum(-1).numpy())
        return [row[:count] for row, count in zip(logits, frames, strict=True)]

    def in_batches(self, items: Sequence[LoadedUtterance], size: int) -> list[np.ndarray]:
        """Run items in batches of short and long ones together, and give the answers in their order."""
        strides = -(-len(items) // size)
        found: dict[int, np.ndarray] = {}
        for first in range(strides):
            rows = list(range(first, len(items), strides))
            found |= dict(zip(rows, self([items[row] for row in rows]), strict=True))
        return [found[row] for row in range(len(items))]


def _distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    return float(np.abs(ours - theirs).max()) if ours.size else 0.0


def spell(logits: np.ndarray, tokenizer: Tokenizer | None) -> str:
    """The text of an utterance's logits, greedily.

    Args:
        logits: (T, V).
        tokenizer: None where there is no vocabulary.
    """
    best = logits.argmax(-1).tolist() if logits.size else []
    if tokenizer is not None:
        return tokenizer.decode_ctc(best)
    # Without a vocabulary a token's number is its word.
    return " ".join(str(token) for token, before in zip(best, [None, *best], strict=False) if token and token != before)
