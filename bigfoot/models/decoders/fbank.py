"""Log-mel energies, frame by frame where the encoder has its frames."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Fbank(nn.Module):
    """Log energies of mel bands, one frame for each of the encoder's.

    A frame covers the very samples that the convolutions cover, so that frames agree and padding is in none that is
    real.

    Args:
        num_bands: bands C from 0 Hz to half the sample rate.
        window: samples of a frame, the encoder's receptive field.
        hop: samples from frame to frame, the encoder's ratio.
        sample_rate: in Hz.

    Examples:
        >>> Fbank(40, window=400, hop=320)(torch.zeros(1, 16000)).shape
        torch.Size([1, 49, 40])
    """

    least = 1e-6
    """Energies below it, of digital silence, are raised to it."""

    def __init__(self, num_bands: int, window: int, hop: int, sample_rate: int = 16_000) -> None:
        super().__init__()
        self.window, self.hop = window, hop
        self._bins, self._bands, self._rate = window // 2 + 1, num_bands, sample_rate

    def triangles(self, device: torch.device) -> Tensor:
        """Return the weights of bins in bands, (bins, C).

        Args:
            device: where they are made anew, for a buffer would be one more tensor in every folder.
        """
        top = 2595 * math.log10(1 + self._rate / 2 / 700)
        edges = 700 * (10 ** (torch.linspace(0, top, self._bands + 2, device=device) / 2595) - 1)
        hertz = torch.linspace(0, self._rate / 2, self._bins, device=device)[:, None]
        rise = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
        fall = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
        return torch.minimum(rise, fall).clamp(min=0)

    def forward(self, input_values: Tensor) -> Tensor:
        """Map (B, N) waveforms to (B, T, C); no frame where a waveform is shorter than one."""
        if input_values.shape[1] < self.window:
            return input_values.new_zeros(input_values.shape[0], 0, self._bands)
        frames = input_values.float().unfold(1, self.window, self.hop)
        shaped = frames * torch.hann_window(self.window, periodic=False, device=frames.device)
        energies = torch.fft.rfft(shaped).abs().square() @ self.triangles(frames.device)
        return energies.clamp(min=self.least).log()
