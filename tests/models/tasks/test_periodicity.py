"""Autocorrelation of whole utterances, beside the frames of the encoder."""

import numpy as np
import pytest
import torch

from bigfoot.models.tasks.periodicity import HIGHEST, LOWEST, TAPS, PooledPeriodicity
from bigfoot.types import SAMPLE_RATE

LAGS = 60
PITCHES = np.geomspace(HIGHEST, LOWEST, LAGS)


def harmonics(pitch, seconds=1.0):
    """A voice-like wave of variance 1."""
    times = torch.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave = sum(torch.cos(2 * torch.pi * pitch * number * times) / number for number in (1, 2, 3))
    return (wave / wave.std())[None]


@pytest.mark.parametrize("pitch", [110.0, 197.3, 305.0])
def test_a_wave_agrees_with_itself_one_period_later(pitch):
    mean, spread = PooledPeriodicity(LAGS)(harmonics(pitch), None)[0].chunk(2)
    taps, numbers = np.hanning(TAPS + 2)[1:-1], np.array([1, 2, 3])
    turns = np.exp(2j * np.pi * pitch / SAMPLE_RATE * np.outer(numbers, np.arange(TAPS)))
    powers = (np.abs(turns @ taps) / taps.sum() / numbers) ** 2
    expected = (powers * np.cos(2 * np.pi * pitch * np.outer(1 / PITCHES, numbers))).sum(1) / powers.sum()
    # Windows cut periods.
    np.testing.assert_allclose(mean.numpy(), expected, atol=0.06)
    assert spread.max() < 0.05
    best = int(mean[0.7 * pitch < PITCHES].argmax())
    assert abs(np.log2(PITCHES[best] / pitch)) < 0.06


def test_noise_and_silence_are_not_periodic():
    noise = torch.randn(1, 64_000, generator=torch.Generator().manual_seed(0))
    mean, _ = PooledPeriodicity(LAGS)(noise, None)[0].chunk(2)
    assert mean.abs().max() < 0.15
    assert PooledPeriodicity(LAGS)(torch.zeros(1, 16_000), None)[0, :LAGS].abs().max() == 0
    assert not PooledPeriodicity(LAGS)(noise[:, :1000], None).any()
