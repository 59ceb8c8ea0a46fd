"""Difference of an exported file from its model on real audio."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bigfoot.data.batches import LoadedUtterance
from bigfoot.export.alone import Alone, ModelOutputs, decode_recordings, run_alone
from bigfoot.export.audio import MOST_UTTERANCES
from bigfoot.export.exported import Exported
from bigfoot.export.layers import LayerError
from bigfoot.export.outputs import BATCH_SIZES, FileRunner, collate_silent, distance
from bigfoot.formats.folder import LoadedModel
from bigfoot.measure.error_rate import PairedDifference, compare_paired
from bigfoot.measure.rounding import rounding_limit
from bigfoot.measure.sequential import RiseTest

_SECONDS_BY_LAYER = 3


@dataclass(frozen=True)
class ParityLimits:
    """Limits of the difference of a file from its model.

    Args:
        logits: largest difference of a logit of an fp32 file, from the model's and between an utterance alone and in
            a batch; int8 is judged by its texts. None for what rounding makes of logits as large as the model's.
        wer: by how much the word error rate may rise, as a fraction; the margin of ``judge_rise``.
        layers: how far an int8 layer may be from the model's by itself, given the same; for a model whose layers
            round as the file's do. None where they do not.
        texts: whether an int8 file is judged by its texts; not on noise, which has no speech.
    """

    logits: float | None = None
    wer: float = 0.005
    layers: float | None = None
    texts: bool = True


@dataclass(frozen=True)
class Parity:
    """Measurements of the gate.

    Args:
        max_difference: largest difference of a logit on real frames, each utterance alone.
        largest_logit: of the model's, by size.
        wer: the file's word error rate less the model's, with interval. Where no transcripts are given, the model's
            own texts are the reference.
        texts_changed: utterances whose text by the file is not the model's.
        num_utterances: compared.
        batch_difference: largest difference of a logit between alone and in a batch; None where the file runs one
            utterance at a time.
        batch_texts_changed: utterances whose text depends on the batch.
        problems: what is past its limit, a sentence each.
        worst_layer: where layers were compared one by one.
        judges_texts: whether texts were; where they were not, they mean nothing.
        rise: what the words at hand say about a rise of the word error rate, of an int8 file judged by its texts.
        alone: logits of both, from which it was measured.
    """

    max_difference: float
    largest_logit: float
    wer: PairedDifference
    texts_changed: int
    num_utterances: int
    batch_difference: float | None
    batch_texts_changed: int
    problems: tuple[str, ...] = ()
    worst_layer: LayerError | None = None
    judges_texts: bool = True
    rise: RiseTest | None = None
    alone: Alone | None = field(default=None, repr=False, compare=False)

    def describe(self) -> str:
        """Summarize the measurements in a line.

        Examples:
            >>> wer = PairedDifference(0.001, -0.002, 0.004, 0.4, "utterance")
            >>> Parity(0.02, 20.0, wer, 1, 60, 0.0, 0).describe()
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
        texts = f"{self.texts_changed} of {self.num_utterances} texts changed"
        wer = f"WER {sign}{rise} points [{low}, {high}]{'' if self.rise is None else self._describe_rise(self.rise)}"
        return f"logits within {self.max_difference:.2g}; {wer}; {texts}; {batches}"

    @staticmethod
    def _describe_rise(rise: RiseTest) -> str:
        missing = f", about {rise.words_missing} more would decide" if rise.outcome == "undecided" else ""
        return f", {rise.outcome} after {rise.words} words{missing}"


def measure_parity(
    loaded: LoadedModel,
    exported: Exported,
    utterances: Sequence[LoadedUtterance],
    limits: ParityLimits,
    outputs: ModelOutputs | None = None,
) -> Parity:
    """Compare a file with its model.

    Args:
        loaded: the model.
        exported: written from it.
        utterances: real audio, one or more, with transcripts or without. An int8 file is compared no further than
            its texts tell that it is refused, and in batches on ``MOST_UTTERANCES`` of them.
        limits: what is too far.
        outputs: of the model, where more than one file of it is compared.

    Returns:
        See ``Parity``.
    """
    runner, outputs = FileRunner(loaded, exported), outputs or ModelOutputs(loaded)
    is_int8 = not exported.plan.is_exact
    alone = run_alone(runner, exported, outputs, utterances, limits.wer if is_int8 and limits.texts else None)
    references, texts, found = alone.texts()
    speakers = {item.id: item.speaker for item in alone.items}
    difference, changed = _run_batches(runner, exported, alone, MOST_UTTERANCES if is_int8 else len(utterances))
    parity = Parity(
        max_difference=max(map(distance, alone.expected, alone.found)),
        largest_logit=max(float(np.abs(logits).max(initial=0.0)) for logits in alone.expected),
        wer=compare_paired(references, texts, found, list(speakers.values())),
        texts_changed=sum(ours != theirs for ours, theirs in zip(texts, found, strict=True)),
        num_utterances=len(texts),
        batch_difference=difference,
        batch_texts_changed=changed,
        worst_layer=None if limits.layers is None else find_worst(loaded, exported, utterances)[0],
        judges_texts=limits.texts,
        rise=alone.rise,
        alone=alone,
    )
    return replace(parity, problems=tuple(_problems(parity, exported, limits)))


def _run_batches(runner: FileRunner, exported: Exported, alone: Alone, most: int) -> tuple[float | None, int]:
    """Largest difference of a logit between alone and in a batch, and recordings whose text depends on the batch.

    None and 0 where the file runs one utterance at a time, or is refused already. Of more than ``most`` utterances,
    so many of all lengths are taken.
    """
    if exported.facts["batch_invariant"] != "true" or alone.is_refused:
        return None, 0
    ordered = sorted(range(len(alone.items)), key=lambda row: len(alone.items[row].samples))
    rows = [ordered[int(place)] for place in np.linspace(0, len(ordered) - 1, min(most, len(ordered)))]
    items, found = [alone.items[row] for row in rows], [alone.found[row] for row in rows]
    by_size = [runner.run_batches(items, size) for size in BATCH_SIZES]
    texts = [decode_recordings(alone.loaded, items, each) for each in (found, *by_size)]
    difference = max(distance(*pair) for each in by_size for pair in zip(found, each, strict=True))
    return difference, sum(len(set(same)) > 1 for same in zip(*texts, strict=True))


def _problems(parity: Parity, exported: Exported, limits: ParityLimits) -> Iterator[str]:
    """List what is past its limit; never by "greater than", since a NaN difference is past any limit."""
    if not np.isfinite(parity.max_difference):
        yield "there are logits that are not finite, or not as many as the model's"
    if not exported.plan.is_exact:
        yield from _int8_problems(parity, limits)
        return
    limit = rounding_limit(parity.largest_logit) if limits.logits is None else limits.logits
    tolerated = f"{limit:.2g} is tolerated where the largest is {parity.largest_logit:.3g}"
    if not parity.max_difference <= limit:
        yield f"logits differ by {parity.max_difference:.2g}, and {tolerated}"
    if parity.batch_difference is not None and not parity.batch_difference <= limit:
        yield f"logits differ by {parity.batch_difference:.2g} between alone and in a batch, and {tolerated}"


def _int8_problems(parity: Parity, limits: ParityLimits) -> Iterator[str]:
    worst = parity.worst_layer
    if worst is not None and limits.layers is not None and not worst.error <= limits.layers:
        yield f"{worst.name} is {worst.error:.2%} off by itself, and {limits.layers:.2%} is tolerated"
    rise, points = parity.rise, 100 * (parity.wer.difference or 0.0)
    if rise is None:
        return
    if rise.outcome == "refused":
        yield f"WER rises by {points:.2f} points, and {100 * limits.wer:g} are tolerated ({rise.words} words tell)"
    elif rise.outcome == "undecided" and not points <= 100 * limits.wer:
        yield (
            f"WER rises by {points:.2f} points on {rise.words} words, too few to tell it from the {100 * limits.wer:g} "
            f"that are tolerated: about {rise.words_missing} more would, were there no rise in them"
        )


def find_worst(
    loaded: LoadedModel, exported: Exported, utterances: Sequence[LoadedUtterance], *, effects: bool = False
) -> list[LayerError]:
    """Return the layers of a file by how far they are from the model's, the worst first.

    Args:
        loaded: the model.
        exported: written from it.
        utterances: the one of middle length is taken, of it at most three seconds.
        effects: rank them by what they do to the logits, one pass of the model a layer; see ``measure_layers``.
    """
    middle = sorted(utterances, key=lambda item: len(item.samples))[len(utterances) // 2]
    short = replace(middle, samples=middle.samples[: _SECONDS_BY_LAYER * loaded.processor.sample_rate])
    return exported.rank_layers(loaded.model, collate_silent([short], loaded).input_values, effects=effects)
