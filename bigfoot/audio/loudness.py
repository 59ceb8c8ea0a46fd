"""Loudness of a recording in steps of 10 ms, by which the edges of words are found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from bigfoot.types import Hertz, Samples, Seconds

STEP: Seconds = 0.01
Decibels = npt.NDArray[np.float32]
# Raises fricatives, in which many words start and end; more of it (0.97 in speech recognition) would raise hiss too.
_PREEMPHASIS = np.float32(0.5)
_SILENCE = 1e-12


class LoudnessMeter:
    """Measures a recording while its blocks are read.

    It is the variance of each step after pre-emphasis: a constant offset is no sound.

    Args:
        sample_rate: of the recording.

    Examples:
        >>> meter = LoudnessMeter(16_000)
        >>> blocks = [np.zeros(1000, np.float32), np.tile(np.float32([0.1, -0.1]), 400)]
        >>> sum(len(block) for block in meter.tap(blocks)), len(meter.decibels())
        (1800, 11)
    """

    def __init__(self, sample_rate: Hertz) -> None:
        self._step = max(1, round(STEP * sample_rate))
        self._rest = np.zeros(0, dtype=np.float32)
        self._powers: list[npt.NDArray[np.float32]] = []

    def add(self, block: Samples) -> None:
        """Take the next samples of the recording."""
        samples = np.concatenate([self._rest, block]) if len(self._rest) else np.concatenate([block[:1], block])
        # The sample before the step stands first.
        whole = max(0, len(samples) - 1) // self._step * self._step
        emphasized = samples[1 : whole + 1] - _PREEMPHASIS * samples[:whole]
        self._powers.append(emphasized.reshape(-1, self._step).var(axis=1))
        self._rest = samples[whole:]

    def tap(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        """Pass blocks on and measure them."""
        for block in blocks:
            self.add(block)
            yield block

    def decibels(self) -> Decibels:
        """Return (N,) loudness of the steps so far, smoothed over three of them."""
        powers = np.concatenate([np.zeros(0, dtype=np.float32), *self._powers]).astype(np.float64)
        if len(powers) > 1:
            around = np.concatenate([powers[:1], powers, powers[-1:]])
            powers = around[:-2] / 4 + around[1:-1] / 2 + around[2:] / 4
        return (10 * np.log10(powers + _SILENCE)).astype(np.float32)


def measure_loudness(samples: Samples, sample_rate: Hertz) -> Decibels:
    """Measure a whole recording.

    Args:
        samples: (N,) of any scale.
        sample_rate: in Hz.

    Returns:
        (N // step,) decibels, one a step of 10 ms.

    Examples:
        >>> measure_loudness(np.zeros(480, np.float32), 16_000).tolist()
        [-120.0, -120.0, -120.0]
    """
    meter = LoudnessMeter(sample_rate)
    meter.add(samples)
    return meter.decibels()
