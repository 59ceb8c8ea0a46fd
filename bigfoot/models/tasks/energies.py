"""Log-mel energies of whole utterances, beside the encoder's frames.

Convolutions with a group norm take the mean spectrum of an utterance away, and with it much of what tells voices apart.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bigfoot.models.decoders.fbank import Fbank
from bigfoot.models.tasks.pooling.statistics import StatisticsPooling

WINDOW, HOP = 400, 160
"""Samples of a frame and from one to the next, 25 and 10 ms: what the floors of a task are computed from too."""
SCALE = 0.2
"""Brings natural logarithms of energies to the range of normalized hidden states."""


class PooledEnergies(nn.Module):
    """Mean and standard deviation of the log energies of mel bands; nothing in it is learned.

    Args:
        num_bands: C.
        window: samples of a frame, 1 or more; longer ones tell the harmonics of a voice apart.

    Attributes:
        key: equal where the numbers are.

    Examples:
        >>> PooledEnergies(40)(torch.randn(2, 16_000), None).shape
        torch.Size([2, 80])
    """

    def __init__(self, num_bands: int, window: int = WINDOW) -> None:
        super().__init__()
        self.window = window
        self.fbank = Fbank(num_bands, window, HOP)
        self._pooling = StatisticsPooling(num_bands, 1)
        self.key = ("energies", num_bands, window)

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
        energies = self.fbank(nn.functional.pad(input_values, (0, max(0, self.window - input_values.shape[1]))))
        samples = input_values.new_full((len(input_values),), input_values.shape[1], dtype=torch.int64)
        samples = samples if attention_mask is None else attention_mask.long().sum(1)
        frames = torch.div(samples - self.window, HOP, rounding_mode="floor") + 1
        real = torch.arange(energies.shape[1], device=energies.device) < frames[:, None]
        pooled: Tensor = self._pooling(SCALE * energies, real).vectors
        return pooled
