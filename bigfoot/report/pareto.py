"""Which of several models nobody beats in both of two things."""

from __future__ import annotations

import math
from collections.abc import Sequence


def find_pareto_front(costs: Sequence[float], errors: Sequence[float]) -> list[bool]:
    """Find the points that no other point beats: as cheap and as good, and in one of the two better.

    Points that are equal in both stand on the front together. One pass over the points in the order of their costs.

    Args:
        costs: one a point, less is better; where more is better, such as speed, give its negative.
        errors: one a point, less is better.

    Returns:
        Whether it is on the front, one a point; a point with a number that is not finite never is.

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
        # Among points of one cost the best comes first, and only its equals stand beside it.
        front[index] = error == best and cost == at
    return front
