"""Expect the error of a student from those that were trained: a regression with its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bigfoot.planner.known import KnownRow

_SAMPLES = 4000
FEWEST_ROWS = 3
"""Below that no slope has an interval."""


@dataclass(frozen=True)
class Expected:
    """WER above the teacher's, in points.

    Args:
        points: of the regression.
        low: lower end of the 95 % prediction interval.
        high: upper end of the same.
        beyond: whether more is cut than in any row.
    """

    points: float
    low: float
    high: float
    beyond: bool


def expect_points(rows: Sequence[KnownRow], times_fewer_macs: float, seed: int = 0) -> Expected:
    r"""Expect how far a student is above its teacher.

    Points are taken to grow with the logarithm of the cut, from 0 where nothing is cut:
    :math:`y = b \log_2 r + e`, least squares over the rows. Of the 95 % interval, the slope is a bootstrap over rows
    (Efron, 1979), and :math:`e`, for what differs between methods, data and lengths of training, is Student's t of the
    rows' residuals, each from the slope of the others.

    Args:
        rows: 3 or more.
        times_fewer_macs: multiply-accumulates of the teacher over the student's, above 0.
        seed: of the resamples.

    Examples:
        >>> rows = [KnownRow("a", 2, 1.0, 1.0, 1.0, ""), KnownRow("b", 4, 2.0, 2.0, 2.0, "")]
        >>> expect_points([*rows, KnownRow("c", 8, 3.0, 3.0, 3.0, "")], 16)
        Expected(points=4.0, low=4.0, high=4.0, beyond=True)
    """
    if len(rows) < FEWEST_ROWS:
        raise ValueError(f"{len(rows)} rows; a slope with an interval needs {FEWEST_ROWS} or more")
    cuts = np.log2([row.times_fewer_macs for row in rows])
    points = np.array([row.points for row in rows])
    wanted = math.log2(times_fewer_macs)
    draws = np.random.default_rng(seed)
    chosen = draws.integers(len(rows), size=(_SAMPLES, len(rows)))
    slopes = _slope(cuts[chosen], points[chosen])
    leverage = cuts**2 / max((cuts**2).sum(), 1e-12)
    residuals = (points - _slope(cuts, points) * cuts) / np.clip(1 - leverage, 1e-3, None)
    scale = math.sqrt((residuals**2).mean())
    predicted = slopes * wanted + scale * draws.standard_t(len(rows) - 1, size=_SAMPLES)
    low, high = np.quantile(predicted, (0.025, 0.975))
    slope = float(_slope(cuts, points))
    beyond = times_fewer_macs > max(row.times_fewer_macs for row in rows)
    ends = [round(float(value), 6) for value in (slope * wanted, low, high)]
    return Expected(ends[0], ends[1], ends[2], beyond)


def _slope(cuts: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Through the origin, over the last axis; 0 where nothing was cut."""
    squares = (cuts**2).sum(-1)
    return (cuts * points).sum(-1) / np.where(squares > 0, squares, 1.0)
