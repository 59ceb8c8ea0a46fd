"""How periodic whole utterances are, and at which pitch, beside the encoder's frames.

An encoder for words is trained to pass over pitch, and bands of 25 ms are too wide for it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bigfoot.models.tasks.pooling.statistics import StatisticsPooling
from bigfoot.types import SAMPLE_RATE

HIGHEST, LOWEST = 500.0, 60.0
"""Pitch of voices in Hz, children's too."""
DECIMATION, TAPS = 4, 16
"""What is sampled less often, and the samples of the smoothing before: pitch is far below 2 kHz."""
FRAME, STEP, BINS = 256, 80, 257
"""Of the decimated waveform, 64 and 20 ms; and bins of a spectrum of twice as many points as a frame has."""
_POINTS = 2 * (BINS - 1)
NOISE = 1e-3 * _POINTS * FRAME
"""Added to the energy of a frame: 30 dB below what is normalized to variance 1 nothing is periodic."""
_LEAST = 0.1
"""Of the window's own autocorrelation, by which that of a frame is divided."""


class PooledPeriodicity(nn.Module):
    """Mean and standard deviation of the autocorrelation of frames, as a share of their energy (Boersma, 1993).

    It is the cosine transform of the power spectrum, so that lags need not be whole samples; no pitch is chosen, which
    would jump from one octave to another. Nothing in it is learned.

    Args:
        num_lags: C, from 1/500 to 1/60 of a second, in equal steps of pitch.

    Attributes:
        key: equal where the numbers are.

    Examples:
        >>> PooledPeriodicity(48)(torch.randn(2, 16_000), None).shape
        torch.Size([2, 96])
    """

    window, hop = TAPS + DECIMATION * (FRAME - 1), DECIMATION * STEP
    """Samples that a frame covers, and from one to the next."""

    def __init__(self, num_lags: int) -> None:
        super().__init__()
        self.num_lags = num_lags
        self._pooling = StatisticsPooling(num_lags, 1)
        self.key = ("periodicity", num_lags)

    @property
    def output_size(self) -> int:
        """Numbers of an utterance, 2 C."""
        return self._pooling.output_size

    def forward(self, input_values: Tensor, attention_mask: Tensor | None) -> Tensor:
        """From (B, N) waveforms to (B, 2 C); zeros where an utterance is shorter than a frame.

        Args:
            input_values: (B, N), normalized by the processor.
            attention_mask: (B, N), True or 1 = real, from the front of each row on; None where all are.
        """
        # One frame at least: a batch of snippets has none.
        padded = nn.functional.pad(input_values.float(), (0, max(0, self.window - input_values.shape[1])))
        device = padded.device
        smooth = nn.functional.conv1d(padded[:, None], smoothing().to(device)[None, None], stride=DECIMATION)[:, 0]
        shaped = smooth.unfold(1, FRAME, STEP) * hann().to(device)
        power = torch.view_as_real(torch.fft.rfft(shaped, _POINTS)).square().sum(-1)
        cosines, weights = (part.to(device) for part in transforms(self.num_lags))
        periodic = (power @ cosines) / (power @ weights + NOISE)
        samples = padded.new_full((len(padded),), input_values.shape[1], dtype=torch.int64)
        samples = samples if attention_mask is None else attention_mask.long().sum(1)
        frames = torch.div(samples - self.window, self.hop, rounding_mode="floor") + 1
        real = torch.arange(periodic.shape[1], device=device) < frames[:, None]
        pooled: Tensor = self._pooling(periodic, real).vectors
        return pooled


def hann() -> Tensor:
    """Return (FRAME,), the window of a frame."""
    return torch.hann_window(FRAME, periodic=False)


def smoothing() -> Tensor:
    """Return (TAPS,), whose sum is 1."""
    shape = torch.hann_window(TAPS + 2, periodic=False)[1:-1]
    return shape / shape.sum()


def transforms(num_lags: int) -> tuple[Tensor, Tensor]:
    """Return what a power spectrum is multiplied by: (BINS, C) for its autocorrelation, (BINS, 1) for its energy.

    Args:
        num_lags: C.
    """
    pitch = torch.logspace(math.log10(HIGHEST), math.log10(LOWEST), num_lags, dtype=torch.float64)
    lags = SAMPLE_RATE / DECIMATION / pitch
    bins = torch.arange(BINS, dtype=torch.float64)[:, None]
    weights = torch.full((BINS, 1), 2.0, dtype=torch.float64)
    weights[[0, -1]] = 1.0  # all others stand for two bins of the whole spectrum
    cosines = weights * torch.cos(2 * math.pi * bins * lags / _POINTS)
    of_window = torch.view_as_real(torch.fft.rfft(hann().double(), _POINTS)).square().sum(-1)
    own = (of_window @ cosines) / (of_window @ weights)
    return (cosines / own.clamp(min=_LEAST)).float(), weights.float()
