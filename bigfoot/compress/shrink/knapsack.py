"""Which cuts together save enough and cost least error."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_STEPS = 600
"""Steps into which savings are rounded down; the exact cost is counted afterwards."""
_Key = TypeVar("_Key", bound=Hashable)
_Numbers = NDArray[Any]


def choose_cheapest(options: Mapping[_Key, Sequence[tuple[float, float]]], needed: float) -> dict[_Key, int] | None:
    """Choose at most one option of each place, so that savings reach a sum and errors are least.

    The multiple-choice knapsack by dynamic programming over rounded savings, as Frantar and Alistarh (2022, SPDY,
    arXiv 2201.13096, section 3.1) choose a level a layer; errors of different places are taken to add up.

    Args:
        options: (saving, error) of each, by place.
        needed: savings in all, above 0.

    Returns:
        Index of the option by place, places without one absent; None where all together save too little.

    Examples:
        >>> choose_cheapest({"a": [(4.0, 1.0), (8.0, 5.0)], "b": [(4.0, 2.0)]}, 8.0)
        {'a': 0, 'b': 0}
    """
    unit = needed / _STEPS
    least = np.full(_STEPS + 1, np.inf)
    least[0] = 0.0
    ways: list[tuple[_Numbers, _Numbers]] = []
    for rows in options.values():
        least, chosen, origin = _add_place(least, [(min(_STEPS, int(s / unit + 1e-9)), e) for s, e in rows])
        ways.append((chosen, origin))
    if not np.isfinite(least[_STEPS]):
        return None
    found: dict[_Key, int] = {}
    at = _STEPS
    for place, (chosen, origin) in zip(reversed([*options]), reversed(ways), strict=True):
        if chosen[at] >= 0:
            found[place] = int(chosen[at])
            at = int(origin[at])
    return dict(reversed(found.items()))


def _add_place(least: _Numbers, rows: Sequence[tuple[int, float]]) -> tuple[_Numbers, _Numbers, _Numbers]:
    """Least error by saving with one more place, which option gives it, and the saving before it."""
    improved, chosen, origin = least.copy(), np.full(len(least), -1), np.arange(len(least))
    for index, (steps, error) in enumerate(rows):
        if steps <= 0:
            continue
        before = np.arange(len(least)) - steps
        # What saves more than enough is enough: the last state is reached from all that lead beyond it.
        before[-1] = len(least) - 1 - steps + int(np.argmin(least[len(least) - 1 - steps :]))
        reached = np.where(before >= 0, least[before] + error, np.inf)
        better = reached < improved
        improved = np.where(better, reached, improved)
        chosen, origin = np.where(better, index, chosen), np.where(better, before, origin)
    return improved, chosen, origin
