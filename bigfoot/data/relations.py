"""Correlations between what is known of utterances: lengths, labels, speakers, splits.

Which measure a pair has follows from its kinds: two numbers have Spearman's rank correlation, two words Cramer's V
(Cramer, 1946, section 21.9), a number and a word the correlation ratio eta (Fisher, 1925, section 45).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Column = Sequence[float | str | None]
"""Values of a quantity, one an utterance; None where it is not known."""
_Numbers = NDArray[np.float64]
_Codes = NDArray[np.int64]
_FEWEST = 3


@dataclass(frozen=True)
class Relation:
    """Correlation of two quantities.

    Args:
        first: name of a quantity.
        second: of the other.
        measure: ``spearman`` (-1 to 1), ``cramers_v`` or ``eta`` (0 to 1).
        value: how strong it is.
        count: utterances of which both are known.
    """

    first: str
    second: str
    measure: str
    value: float
    count: int


def find_relations(columns: Mapping[str, Column]) -> list[Relation]:
    """Compute the correlation of every pair of quantities.

    Args:
        columns: by name, of one length each.

    Returns:
        The strongest first. A pair has none where fewer than 3 utterances have both, where one of them has a single
        value, or a word differs in every utterance, as ids do.

    Examples:
        >>> find_relations({"seconds": [1.0, 2.0, 3.0, None], "age": [7.0, 8.0, 9.0, 1.0]})
        [Relation(first='seconds', second='age', measure='spearman', value=1.0, count=3)]
    """
    pairs = combinations(columns.items(), 2)
    found = [relation for one, other in pairs if (relation := _relate(*one, *other)) is not None]
    return sorted(found, key=lambda relation: (-abs(relation.value), relation.first, relation.second))


def _relate(first: str, one: Column, second: str, other: Column) -> Relation | None:
    known = [pair for pair in zip(one, other, strict=True) if None not in pair]
    if len(known) < _FEWEST:
        return None
    left, right = (list(values) for values in zip(*known, strict=True))
    if any(len(set(values)) < 2 or _is_name(values) for values in (left, right)):
        return None
    if _is_numeric(left) and _is_numeric(right):
        measure, value = "spearman", _correlate_ranks(np.array(left, float), np.array(right, float))
    elif _is_numeric(left) or _is_numeric(right):
        numbers, words = (left, right) if _is_numeric(left) else (right, left)
        measure, value = "eta", _compute_ratio(np.array(numbers, float), _encode(words))
    else:
        measure, value = "cramers_v", _compute_v(_encode(left), _encode(right))
    return Relation(first, second, measure, value, len(known))


def _is_numeric(values: Sequence[object]) -> bool:
    return all(isinstance(value, int | float) for value in values)


def _is_name(values: Sequence[object]) -> bool:
    return not _is_numeric(values) and len(set(values)) == len(values)


def _encode(values: Sequence[object]) -> _Codes:
    return np.unique(np.array([str(value) for value in values]), return_inverse=True)[1].reshape(-1)


def _rank(values: _Numbers) -> _Numbers:
    """Ranks from 0 on; of equals the mean of theirs."""
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray(((2 * ends - counts - 1) / 2)[codes.reshape(-1)])


def _correlate_ranks(left: _Numbers, right: _Numbers) -> float:
    # Rounding may lead beyond 1.
    return float(np.clip(np.corrcoef(_rank(left), _rank(right))[0, 1], -1.0, 1.0))


def _compute_ratio(numbers: _Numbers, codes: _Codes) -> float:
    counts = np.bincount(codes)
    means = np.bincount(codes, numbers) / counts
    between = float(np.sum(counts * (means - numbers.mean()) ** 2))
    return math.sqrt(min(1.0, between / float(np.sum((numbers - numbers.mean()) ** 2))))


def _compute_v(left: _Codes, right: _Codes) -> float:
    table = np.zeros((left.max() + 1, right.max() + 1))
    np.add.at(table, (left, right), 1.0)
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    chi_squared = float(np.sum((table - expected) ** 2 / expected))
    return math.sqrt(min(1.0, chi_squared / (len(left) * (min(table.shape) - 1))))
