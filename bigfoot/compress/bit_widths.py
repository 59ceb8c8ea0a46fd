"""Bits for each layer under a budget of bytes: the least sum of measured costs, by a knapsack."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_ROOM = 20_000


def choose_bits(
    costs: Mapping[str, Mapping[int, float]], sizes: Mapping[str, Mapping[int, int]], budget: int
) -> dict[str, int] | None:
    """Choose one width for each layer so that costs are least and sizes fit.

    A multiple-choice knapsack by dynamic programming over bytes. Where the room between the smallest and the largest
    choice is above 20,000 bytes, bytes are counted in units, each layer's rounded up: the budget always holds, and up
    to a unit a layer is given away.

    Args:
        costs: by layer and bits; what is not finite is never chosen where anything else fits.
        sizes: bytes, of the same layers and bits.
        budget: bytes of all layers together.

    Returns:
        Bits by layer; None where even the smallest do not fit.

    Examples:
        >>> costs = {"a": {2: 5.0, 4: 1.0}, "b": {2: 0.5, 4: 0.1}}
        >>> choose_bits(costs, {"a": {2: 10, 4: 20}, "b": {2: 10, 4: 20}}, budget=30)
        {'a': 4, 'b': 2}
    """
    least = {layer: min(found.values()) for layer, found in sizes.items()}
    room = min(budget, sum(max(found.values()) for found in sizes.values())) - sum(least.values())
    if room < 0:
        return None
    unit = max(1, -(-room // _ROOM))
    # best[r]: the least cost of the layers so far within r units above their smallest.
    best = np.zeros(room // unit + 1)
    chosen: list[tuple[str, np.ndarray]] = []
    for layer, found in sizes.items():
        widths = sorted(found)
        table = np.full((len(widths), len(best)), np.inf)
        for row, bits in enumerate(widths):
            extra = -(-(found[bits] - least[layer]) // unit)
            cost = min(float(costs[layer][bits]), 1e30)
            if extra < len(best):
                table[row, extra:] = best[: len(best) - extra] + (cost if cost == cost else 1e30)
        picks = table.argmin(0)
        best = table[picks, np.arange(len(best))]
        chosen.append((layer, np.array(widths)[picks]))
    answer: dict[str, int] = {}
    left = len(best) - 1
    for layer, picks in reversed(chosen):
        answer[layer] = int(picks[left])
        left -= -(-(sizes[layer][answer[layer]] - least[layer]) // unit)
    return {layer: answer[layer] for layer in sizes}
