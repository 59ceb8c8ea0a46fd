"""Tolerances between two fp32 computations of the same value: rounding grows with the numbers that are rounded."""

from __future__ import annotations

import math

SMALLEST_LIMIT = 1e-4
"""Tolerance of logits of a few units."""
RELATIVE_LIMIT = 2e-5
"""Share of the largest logit, some hundred times the rounding of one operation; trained models have logits of 30 to
100."""


def rounding_limit(largest: float) -> float:
    """Return the largest difference of a logit that counts as rounding in fp32.

    Args:
        largest: of the logits by size, 0 or more; what is not finite excuses nothing.

    Examples:
        >>> rounding_limit(2.0), rounding_limit(80.0)
        (0.0001, 0.0016)
    """
    return max(SMALLEST_LIMIT, RELATIVE_LIMIT * largest) if math.isfinite(largest) else SMALLEST_LIMIT
