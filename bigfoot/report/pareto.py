"""Compute the Pareto front of models in two criteria."""

from __future__ import annotations

import math
from collections.abc import Sequence


def find_pareto_front(costs: Sequence[float], errors: Sequence[float]) -> list[bool]:
    """Find the points that no other point dominates: no worse in both criteria, and better in one.

    Points that are equal in both are on the front together. One pass over the points, sorted by cost.

    Args:
        costs: one per point, lower is better; pass the negative of a criterion such as speed.
        errors: one per point, lower is better.

    Returns:
        Whether each point is on the front; a point with a non-finite number never is.

    Raises:
        ValueError: the lists differ in length.

    Examples:
        >>> find_pareto_front([1.0, 2.0, 3.0], [0.3, 0.1, 0.2])
        [True, True, False]
    """
    points = [
        (cost, error, index)
        for index, (cost, error) in enumerate(zip(costs, errors, strict=True))
        if math.isfinite(cost) and math.isfinite(error)
    ]
    front = [False] * len(costs)
    best, at = math.inf, math.nan  # the lowest error so far, and the cost at which it was found
    for cost, error, index in sorted(points):
        if error < best:
            best, at = error, cost
        # Among points of equal cost the best comes first, and only its equals join it.
        front[index] = error == best and cost == at
    return front
