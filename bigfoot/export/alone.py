"""A model and its exported file on each utterance alone: on as many as it takes to tell that the texts are worse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from bigfoot.data.batches import LoadedUtterance
from bigfoot.export.audio import join_pieces
from bigfoot.export.exported import Exported
from bigfoot.export.outputs import FileRunner, decode_greedily, outputs_of_model
from bigfoot.formats.folder import LoadedModel
from bigfoot.measure.sequential import RiseTest, judge_rise
from bigfoot.progress import track

_FIRST_ROUND = 4
"""Utterances after which the texts are judged for the first time, then after twice as many each time."""


class ModelOutputs:
    """Logits of a model for utterances alone, each computed once for all files that are compared with it.

    Args:
        loaded: with a CTC head.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self._found: dict[int, np.ndarray] = {}

    def of(self, item: LoadedUtterance) -> np.ndarray:
        """Return the logits (T, V) of an utterance.

        Args:
            item: the same object gives the same logits.
        """
        if id(item) not in self._found:
            self._found[id(item)] = outputs_of_model(self.loaded, item)
        return self._found[id(item)]


@dataclass
class Alone:
    """Logits of both for the utterances that were run.

    Args:
        loaded: the model.
        items: the utterances, in the order in which they were read.
        expected: logits of the model, in the form of the file.
        found: logits of the file.
        rise: what the texts tell; None where they are not judged.
    """

    loaded: LoadedModel
    items: list[LoadedUtterance] = field(default_factory=list)
    expected: list[np.ndarray] = field(default_factory=list)
    found: list[np.ndarray] = field(default_factory=list)
    rise: RiseTest | None = None

    @property
    def is_refused(self) -> bool:
        """Whether the texts tell that the word error rate rises."""
        return self.rise is not None and self.rise.outcome == "refused"

    def texts(self) -> tuple[list[str], list[str], list[str]]:
        """Decode: reference, text of the model and text of the file of each recording.

        Where there are no transcripts, the model's texts are the references.
        """
        texts, found = (decode_recordings(self.loaded, self.items, each) for each in (self.expected, self.found))
        references = join_pieces(self.items, [item.text for item in self.items])
        return references if any(references) else texts, texts, found


def decode_recordings(
    loaded: LoadedModel, items: Sequence[LoadedUtterance], outputs: Sequence[np.ndarray]
) -> list[str]:
    """Decode the text of each recording greedily.

    Args:
        loaded: for its tokenizer.
        items: utterances, pieces of recordings.
        outputs: logits (T, V), one each.
    """
    return join_pieces(items, [decode_greedily(logits, loaded.processor.tokenizer) for logits in outputs])


def run_alone(
    runner: FileRunner,
    exported: Exported,
    outputs: ModelOutputs,
    utterances: Sequence[LoadedUtterance],
    margin: float | None = None,
) -> Alone:
    """Run a model and its file on utterances, one at a time.

    Args:
        runner: of the file.
        exported: the file.
        outputs: of the model.
        utterances: one or more; the pieces of a recording follow each other.
        margin: rise of the word error rate that is too much, as a fraction: where the texts tell of one, the rest is
            not run. None to judge no texts.

    Returns:
        See ``Alone``.
    """
    alone, ends = Alone(outputs.loaded), set(_ends_of_rounds(utterances))
    for item in track(utterances, "running the model and the file", unit="utterances"):
        alone.items.append(item)
        alone.expected.append(exported.expect(outputs.of(item)))
        alone.found.append(runner.run([item])[0])
        if margin is not None and len(alone.items) in ends:
            alone.rise = judge_rise(*alone.texts(), margin)
            if alone.is_refused:
                break
    return alone


def _ends_of_rounds(utterances: Sequence[LoadedUtterance]) -> Iterator[int]:
    """Yield how many utterances each round ends with, at the end of a recording; the last ends with all."""
    wanted = _FIRST_ROUND
    for count, item in enumerate(utterances, 1):
        if count == len(utterances) or (count >= wanted and utterances[count].id != item.id):
            yield count
            wanted = 2 * count
