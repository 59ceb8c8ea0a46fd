"""Silence at the ends of a recording: where the sound between them starts and ends."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bigfoot.types import Samples, Seconds

_STEP: Seconds = 0.02


def find_sound(blocks: Iterable[Samples], sample_rate: int, quieter_db: float) -> tuple[Seconds, Seconds]:
    """Find the sound between the silence at both ends; pauses within it stay.

    Args:
        blocks: of a recording, one after the other.
        sample_rate: in Hz.
        quieter_db: steps of 20 ms that are quieter than the loudest one by more are silence.

    Returns:
        Where it starts and where it ends, in seconds; of all silence the whole.

    Examples:
        >>> wave = np.concatenate([np.zeros(1600), np.sin(np.arange(3200.0)), np.zeros(800)]).astype(np.float32)
        >>> start, end = find_sound([wave], 16_000, 40.0)
        >>> round(start, 2), round(end, 2)
        (0.1, 0.3)
    """
    samples = np.concatenate([np.zeros(0, np.float32), *blocks])
    step = max(1, round(_STEP * sample_rate))
    whole = len(samples) // step
    # Not the mean square: a constant offset is no sound.
    power = samples[: whole * step].reshape(whole, step).astype(np.float64).var(axis=1)
    loud = np.flatnonzero(power > power.max(initial=0.0) * 10 ** (-quieter_db / 10))
    if len(loud) == 0 or power.max() == 0.0:
        return 0.0, len(samples) / sample_rate
    last = len(samples) if loud[-1] == whole - 1 else (int(loud[-1]) + 1) * step
    return int(loud[0]) * step / sample_rate, last / sample_rate
