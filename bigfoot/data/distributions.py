"""Distributions of quantities, and of labels that may be missing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

_MOST_WORDS = 0.1
"""Share of a column's values that may be none in one of numbers."""


@dataclass(frozen=True)
class Spread:
    """Distribution of a quantity; quartiles are interpolated between neighbours.

    Args:
        minimum: the lowest.
        lower_quartile: a quarter lies below it.
        median: half lies below it.
        upper_quartile: three quarters lie below it.
        maximum: the highest.
        mean: the average.
    """

    minimum: float
    lower_quartile: float
    median: float
    upper_quartile: float
    maximum: float
    mean: float


@dataclass(frozen=True)
class LabelFacts:
    """Statistics of a label.

    Args:
        counts: utterances by value, the most frequent first.
        num_missing: utterances without it.
        spread: of its numbers, where nine tenths of the values or more are numbers.
        words: the other values beside them, such as ``n/a``, by how often.
    """

    counts: dict[str, int]
    num_missing: int
    spread: Spread | None = None
    words: dict[str, int] = field(default_factory=dict)


def spread_of(values: Sequence[float]) -> Spread | None:
    """Summarize values.

    Args:
        values: any number of them.

    Returns:
        Quartiles, ends and mean; None where there is no value.

    Examples:
        >>> spread_of([4, 1, 3, 2, 5])
        Spread(minimum=1.0, lower_quartile=2.0, median=3.0, upper_quartile=4.0, maximum=5.0, mean=3.0)
    """
    if not len(values):
        return None
    low, lower, median, upper, high = np.percentile(np.asarray(values, dtype=np.float64), (0, 25, 50, 75, 100)).tolist()
    return Spread(low, lower, median, upper, high, float(np.mean(values)))


def describe_label(values: Sequence[str | None]) -> LabelFacts:
    """Count the values of a label.

    Args:
        values: one an utterance, None where it is not known.

    Examples:
        >>> describe_label(["calm", None, "angry", "calm"])
        LabelFacts(counts={'calm': 2, 'angry': 1}, num_missing=1, spread=None, words={})
    """
    known = [value for value in values if value is not None]
    counts = dict(Counter(known).most_common())
    words = {value: count for value, count in counts.items() if read_numbers([value]) is None}
    if sum(words.values()) > len(known) * _MOST_WORDS:
        return LabelFacts(counts, len(values) - len(known))
    spread = spread_of(read_numbers(value for value in known if value not in words) or [])
    return LabelFacts(counts, len(values) - len(known), spread, words)


def read_numbers(values: Iterable[str]) -> list[float] | None:
    """Read values as numbers.

    Args:
        values: such as those of a label.

    Returns:
        Finite numbers; None where one of the values is none.

    Examples:
        >>> read_numbers(["1", "2.5"]), read_numbers(["1", "calm"])
        ([1.0, 2.5], None)
    """
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None
