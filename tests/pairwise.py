"""Fewer combinations: every two values of two parameters meet, rather than every combination of all."""

from collections.abc import Iterable, Sequence
from itertools import combinations, product
from typing import Any


def pairwise(*parameters: Iterable[Any]) -> list[tuple[Any, ...]]:
    """List rows, one value of each parameter, in which every two values of any two parameters meet.

    Greedy and without chance: each row is the combination with the most pairs that have not met, the first of equals.

    Args:
        parameters: the values of each, three parameters or more: all rows of two are all pairs.
    """
    values: list[Sequence[Any]] = [list(parameter) for parameter in parameters]
    left = {frozenset(pair) for row in product(*map(range, map(len, values))) for pair in pairs_of(row)}
    rows = list(product(*map(range, map(len, values))))
    chosen = []
    while left:
        best = max(rows, key=lambda row: sum(pair in left for pair in map(frozenset, pairs_of(row))))
        left.difference_update(map(frozenset, pairs_of(best)))
        chosen.append(tuple(values[place][index] for place, index in enumerate(best)))
    return chosen


def pairs_of(row: Sequence[int]) -> Iterable[tuple[tuple[int, int], tuple[int, int]]]:
    """Pair up (parameter, value) of a row."""
    return combinations(enumerate(row), 2)
