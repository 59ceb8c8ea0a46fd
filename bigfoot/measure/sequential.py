"""Tell from few words whether a word error rate rises: Wald's sequential test on paired errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log, sqrt
from typing import Literal

import numpy as np

from bigfoot.measure.error_rate import count_errors

Outcome = Literal["accepted", "refused", "undecided"]

_RATE = 0.05
"""Of false acceptances at a rise of the margin, and of false refusals at none."""
_BOUND = log((1 - _RATE) / _RATE)
_PRIOR_RECORDINGS, _PRIOR_WORDS = 3, 2
"""Recordings added to the variance, and by how many words each differs: before anything has, it is not zero."""
_PRIOR = float(_PRIOR_RECORDINGS * _PRIOR_WORDS**2)


@dataclass(frozen=True)
class RiseTest:
    """What the words at hand say about a rise.

    Args:
        outcome: ``accepted`` where it is below the margin, ``refused`` where it is not.
        words: of the references, read until then.
        words_missing: how many more would accept it, were there no rise in them; 0 where it is decided.
    """

    outcome: Outcome
    words: int
    words_missing: int = 0


def judge_rise(
    references: Sequence[str], before: Sequence[str], after: Sequence[str], margin: float = 0.005
) -> RiseTest:
    """Decide between no rise of the word error rate and one of the margin (Wald, 1945; Robbins, 1970).

    Recordings are taken in their order, so audio that is added later goes on with the test. After each, the log
    likelihood ratio of both means of a normal law is m (S - m N / 2) / v: margin m, words added S among N, and v the
    variance of a recording's added words for each of its words. It ends past log(0.95 / 0.05) on either side. v is
    estimated, with three recordings more that differ by two words or the most seen, and is at least m, that of single
    words that go wrong at the margin. A rise many times the margin is noticed earlier: it ends too where S leaves
    m N / 2 by more than the boundary of Robbins' normal mixture at 5 %. Errors of a recording may depend on each other,
    since a recording counts whole.

    Args:
        references: transcripts, one a recording.
        before: hypotheses of the model.
        after: hypotheses of what was made of it.
        margin: rise that is too much, a fraction above 0.

    Returns:
        See ``RiseTest``. A rise of the margin is accepted, and no rise refused, in at most 5 % of trials each.

    Raises:
        ValueError: the lists differ in length, or the margin is not above 0.

    Examples:
        >>> judge_rise(["one two"] * 40, ["one two"] * 40, ["one two"] * 40)
        RiseTest(outcome='undecided', words=80, words_missing=1602)
        >>> judge_rise(["one two"] * 900, ["one two"] * 900, ["one two"] * 900)
        RiseTest(outcome='accepted', words=1682, words_missing=0)
        >>> judge_rise(["one two"] * 900, ["one two"] * 900, ["one too"] * 900)
        RiseTest(outcome='refused', words=36, words_missing=0)
    """
    first, second = count_errors(references, before), count_errors(references, after)
    added = [new.errors - old.errors for old, new in zip(first, second, strict=True)]
    return judge_counts(added, [len(text.split()) for text in references], margin)


def judge_counts(added: Sequence[int], words: Sequence[int], margin: float = 0.005) -> RiseTest:
    """Decide the same from counts; see ``judge_rise``.

    Args:
        added: errors after less errors before, one a recording.
        words: of the references, one a recording.
        margin: rise that is too much, a fraction above 0.

    Examples:
        >>> judge_counts([0, 1, -1, 0] * 400, [5] * 1600)
        RiseTest(outcome='undecided', words=8000, words_missing=15675)
    """
    if not margin > 0:
        raise ValueError(f"margin is {margin}, and a rise that is too much is above 0")
    rises, sums = np.asarray(added, dtype=np.float64), np.cumsum(words, dtype=np.float64)
    known = sums > 0  # A recording without words adds errors and no words.
    if not known.any():
        return RiseTest("undecided", 0, _words_to_accept(0.0, 0.0, _PRIOR, margin))
    total, squares, total_words = np.cumsum(rises)[known], np.cumsum(rises**2)[known], sums[known]
    prior = _PRIOR_RECORDINGS * np.maximum(np.maximum.accumulate(np.abs(rises))[known], _PRIOR_WORDS) ** 2
    variance = np.maximum(squares + prior, margin * total_words)
    centered = total - margin * total_words / 2
    ratios = margin * centered * total_words / variance
    mixture = np.sqrt((variance + _PRIOR) * (2 * log(1 / _RATE) + np.log1p(variance / _PRIOR)))
    ends = np.flatnonzero((np.abs(ratios) >= _BOUND) | (np.abs(centered) >= mixture))
    if ends.size:
        return RiseTest("accepted" if centered[ends[0]] < 0 else "refused", int(total_words[ends[0]]))
    needed = _words_to_accept(total[-1], squares[-1] / total_words[-1], prior[-1], margin)
    return RiseTest("undecided", int(total_words[-1]), max(1, needed - int(total_words[-1])))


def _words_to_accept(rise: float, squares_per_word: float, prior: float, margin: float) -> int:
    """Words at which the ratio passes the lower bound, where no more are added and they vary as before."""
    middle = margin * rise + _BOUND * squares_per_word
    by_variance = (middle + sqrt(max(0.0, middle**2 + 2 * margin**2 * _BOUND * prior))) / margin**2
    return ceil(max(by_variance, 2 * (_BOUND + rise) / margin))
