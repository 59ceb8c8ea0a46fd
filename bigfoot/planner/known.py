"""Rows of our own results from which the error of a student is expected, as docs/results/methods.md states them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownRow:
    """A student that was trained.

    Args:
        name: of the method or the run.
        times_fewer_macs: multiply-accumulates of its teacher over its own.
        points: WER above its teacher's, in points; a paired difference.
        low: lower end of its 95 % interval.
        high: upper end of the same.
        origin: data, steps and seeds.
    """

    name: str
    times_fewer_macs: float
    points: float
    low: float
    high: float
    origin: str


_SHORT = "FSDD strings, 192 + 108 steps of 16 s, three seeds"
_LONG = "FSDD strings, 300 + 40 steps of 40 s, "
_ONE = "FSDD strings, 48 + 108 steps of 16 s, one seed"
KNOWN_ROWS = (
    KnownRow("conv_groups_only", 0.238 / 0.219, 1.34, 0.55, 2.17, _SHORT),
    KnownRow("lowrank", 0.238 / 0.165, 2.31, 1.41, 3.21, _SHORT),
    KnownRow("distil_wav2vec2", 0.238 / 0.141, 0.84, -0.52, 2.30, _ONE),
    KnownRow("bigfoot", 0.238 / 0.0897, 2.31, 1.44, 3.21, _SHORT),
    KnownRow("distilhubert", 0.238 / 0.0764, 4.68, 3.65, 5.72, _SHORT),
    KnownRow("dphubert", 0.238 / 0.0705, 1.09, 0.37, 1.84, _SHORT),
    KnownRow("bigfoot_thin", 0.238 / 0.0406, 3.40, 2.50, 4.38, _SHORT),
    KnownRow("bigfoot_thin, long", 0.238 / 0.0406, 0.00, -0.67, 0.63, f"{_LONG}three seeds"),
    KnownRow("fsdd recipe", 0.2382 / 0.0897, 0.96, -0.46, 2.31, f"{_LONG}one seed"),
    KnownRow("demo", 0.2382 / 0.0897, 1.65, 0.66, 2.79, "synthetic digits, 300 + 40 steps, one seed"),
)
"""Students that start from their teacher's weights; those from random weights did not converge in so few steps."""
ORIGIN = "a teacher of 2.5 M parameters on strings of digits"
