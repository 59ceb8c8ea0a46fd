"""When the frames of a model are, measured: how many it gives for audio of which length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bigfoot.errors import ModelError
from bigfoot.types import Samples

Run = Callable[[Samples], np.ndarray]
"""From samples (N,) at 16 kHz to (T, V)."""
_SECOND = 16_000
_FRAMES = 16
"""Frames between the two lengths whose distance is the period."""


@dataclass(frozen=True)
class MeasuredFrames:
    """What frames of a model are like.

    Args:
        period: samples from one frame to the next.
        receptive: length at which the first frame would appear; padded inside where it is below the period.
        shortest: samples below which there is no frame, or one that is no number.
        tokens: V.
        probabilities: whether the outputs are probabilities, not their logarithms or logits.
    """

    period: float
    receptive: float
    shortest: int
    tokens: int
    probabilities: bool

    @property
    def first(self) -> float:
        """Centre of the first frame: of its receptive field, or 0 where that stands around it."""
        return max(0.0, (self.receptive - 1) / 2) if self.receptive > self.period else 0.0


def measure_frames(run: Run, name: str, least: int = 1) -> MeasuredFrames:
    """Measure the frames of a model by some thirty runs on noise of 1 to 3 s.

    Args:
        run: the model.
        name: of it, for messages.
        least: samples below which it is not to be asked.

    Raises:
        ModelError: it gives no frame for a second, or as many for any length.

    Examples:
        >>> strided = lambda x: np.zeros((max(0, (len(x) - 400) // 320 + 1), 3))
        >>> measure_frames(strided, "m")
        MeasuredFrames(period=320.0, receptive=400.0, shortest=400, tokens=3, probabilities=False)
    """
    noise = 0.1 * np.random.default_rng(0).standard_normal(16 * _SECOND).astype(np.float32)

    def count(length: int) -> int:
        found = run(noise[:length])
        return len(found) if np.isfinite(found).all() else 0

    outputs = run(noise[:_SECOND])
    start, later = len(outputs), count(3 * _SECOND)
    if not start or not np.isfinite(outputs).all():
        raise ModelError(f"{name}: gives no frame, or no numbers, for a second of audio")
    if later <= start:
        raise ModelError(f"{name}: gives {start} frames for 1 s and {later} for 3 s of audio: not frame by frame")
    rough = 2 * _SECOND / (later - start)
    first = _first_length(count, start + 1, _SECOND, _SECOND + round(1.5 * rough) + 1)
    guess = first + _FRAMES * rough
    last = _first_length(count, start + 1 + _FRAMES, round(guess - 1.5 * rough), round(guess + 1.5 * rough) + 1)
    period = (last - first) / _FRAMES
    shortest = _first_length(lambda length: _count_safely(count, length), 1, least - 1, _SECOND)
    sums = outputs.sum(-1)
    probabilities = bool((outputs >= 0).all() and np.abs(sums - 1).max() < 1e-3)
    return MeasuredFrames(period, first - start * period, shortest, outputs.shape[1], probabilities)


def _first_length(count: Callable[[int], int], frames: int, below: int, above: int) -> int:
    """Least length with so many frames, which ``below`` has not and ``above`` has."""
    while above - below > 1:
        middle = (below + above) // 2
        if count(middle) >= frames:
            above = middle
        else:
            below = middle
    return above


def _count_safely(count: Callable[[int], int], length: int) -> int:
    try:
        return count(length)
    except ModelError:  # too short for one of its operators
        return 0
