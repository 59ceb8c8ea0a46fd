"""How far two computations of one thing in fp32 may be apart: rounding grows with the numbers that are rounded."""

from __future__ import annotations

import math

SMALLEST_LIMIT = 1e-4
"""What logits of a few units may differ by."""
RELATIVE_LIMIT = 2e-5
"""Share of the largest logit, some hundred times the rounding of one operation; trained models have logits of 30 to
100."""


def rounding_limit(largest: float) -> float:
    """Largest difference of a logit that counts as rounding in fp32.

    Args:
        largest: of the logits by size, 0 or more; what is not finite excuses nothing.

    Examples:
        >>> rounding_limit(2.0), rounding_limit(80.0)
        (0.0001, 0.0016)
    """
    return max(SMALLEST_LIMIT, RELATIVE_LIMIT * largest) if math.isfinite(largest) else SMALLEST_LIMIT
