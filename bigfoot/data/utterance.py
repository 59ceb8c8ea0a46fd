"""An utterance made in memory, before it becomes a file and a line of a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from bigfoot.types import SAMPLE_RATE, Samples, Seconds

DIGIT_WORDS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")


@dataclass(frozen=True)
class Utterance:
    """Speech with its transcript.

    Args:
        id: unique in its corpus.
        speaker: who speaks; splits never share one unless the corpus's own do.
        text: the transcript.
        samples: (N,) at 16 kHz.
        labels: of tasks, by name.
    """

    id: str
    speaker: str
    text: str
    samples: Samples
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> Seconds:
        """Length of the audio."""
        return len(self.samples) / SAMPLE_RATE


def digits_to_text(digits: list[int]) -> str:
    """Write digits as the words of the transcript.

    Examples:
        >>> digits_to_text([3, 1, 4])
        'THREE ONE FOUR'
    """
    return " ".join(DIGIT_WORDS[digit] for digit in digits)


def silence(rng: np.random.Generator, longest: Seconds) -> Samples:
    """Return zeros of a random length.

    Args:
        rng: source of the length.
        longest: upper end of the uniform length, seconds.

    Returns:
        (N,) zeros.
    """
    return np.zeros(int(rng.uniform(0.0, longest) * SAMPLE_RATE), dtype=np.float32)


def add_noise(samples: Samples, rng: np.random.Generator, snr_db: float) -> Samples:
    """Add coloured noise at a signal-to-noise ratio.

    The colour is drawn between white and dark by a one-pole low-pass, since rooms and microphones are rarely white.

    Args:
        samples: (N,).
        rng: source of the noise.
        snr_db: power of the signal over the power of the noise, decibels.

    Returns:
        (N,) float32.
    """
    noise = rng.standard_normal(len(samples)).astype(np.float32)
    pole = rng.uniform(0.0, 0.9)
    # Two taps are enough of a low-pass to vary the colour, and cost nothing.
    noise[1:] += np.float32(pole) * noise[:-1]
    return mix_noise(samples, noise, snr_db)


def mix_noise(samples: Samples, noise: Samples, snr_db: float) -> Samples:
    """Add noise at a signal-to-noise ratio.

    Args:
        samples: (N,).
        noise: (N,).
        snr_db: power of the signal over the power of the noise, decibels.

    Returns:
        (N,) float32; the samples as they are where either is silent, since no ratio can be had then.

    Examples:
        >>> mix_noise(np.ones(2, np.float32), np.array([3.0, -3.0], np.float32), snr_db=0).tolist()
        [2.0, 0.0]
    """
    noise_power = float(np.mean(noise**2))
    if noise_power == 0.0:
        return samples
    power = float(np.mean(samples**2)) / noise_power / 10 ** (snr_db / 10)
    return samples + noise * np.float32(np.sqrt(power))
