"""Results of a search over CTC posteriors, and its interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

LogProbs: TypeAlias = npt.NDArray[np.floating]
"""(T, V) log posteriors of one utterance's real frames, in nats."""


@dataclass(frozen=True)
class Hypothesis:
    """A candidate text; ``score = acoustic + weight * language + bonus``.

    Args:
        text: words with single spaces between.
        tokens: label ids of its likeliest tokenization.
        score: by which hypotheses are ordered.
        acoustic: log probability of the text under CTC, in nats, summed over all alignments that the beam kept.
        language: log probability of the words and the end of the sentence, in nats, before its weight; 0 without a
            language model.
        bonus: for words and hot words.
    """

    text: str
    tokens: tuple[int, ...]
    score: float
    acoustic: float
    language: float = 0.0
    bonus: float = 0.0


class Search(Protocol):
    """A search that turns posteriors into text."""

    @property
    def name(self) -> str:
        """Name in reports."""
        ...

    def search(self, log_probs: LogProbs) -> list[Hypothesis]:
        """Find texts, best first, one at least.

        Args:
            log_probs: (T, V); T may be 0.
        """
        ...
