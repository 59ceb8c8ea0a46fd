"""Fewer combinations: every two values of two parameters meet, rather than every combination of all."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations, product
from typing import Any


def pairwise(*parameters: Iterable[Any]) -> list[tuple[Any, ...]]:
    """List rows, one value of each parameter, in which every two values of any two parameters meet.

    Greedy and without chance: each row is the combination with the most pairs that have not met, and of equals the one
    whose values have been taken least.

    Args:
        parameters: the values of each, three parameters or more: all rows of two are all pairs.
    """
    values: list[Sequence[Any]] = [list(parameter) for parameter in parameters]
    rows = list(product(*map(range, map(len, values))))
    left = {pair for row in rows for pair in pairs_of(row)}
    taken: Counter[tuple[int, int]] = Counter()
    chosen = []
    while left:
        worth = {row: (len(left.intersection(pairs_of(row))), -sum(taken[v] for v in enumerate(row))) for row in rows}
        best = max(rows, key=worth.__getitem__)
        left.difference_update(pairs_of(best))
        taken.update(enumerate(best))
        chosen.append(tuple(values[place][index] for place, index in enumerate(best)))
    return chosen


def pairs_of(row: Sequence[int]) -> Iterable[tuple[tuple[int, int], tuple[int, int]]]:
    """Pair up (parameter, value) of a row."""
    return combinations(enumerate(row), 2)
