"""Pooling by mean and standard deviation (Snyder et al., 2018, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from bigfoot.models.tasks.pooling.base import Pooled, Pooling, masked_mean

VARIANCE_FLOOR = 1e-5
"""Added to the variance: the root of a variance near 0 would blow rounding up, and its gradient has no bound."""


class StatisticsPooling(Pooling):
    """Mean and standard deviation of each channel over the real frames."""

    width_factor = 2

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Pooled:
        """See ``Pooling``."""
        mean = masked_mean(frames, frame_mask)
        # Around the mean: the difference of two large means of squares would lose what it is to show.
        variance = masked_mean((frames - mean[:, None]) ** 2, frame_mask)
        spread = (variance + VARIANCE_FLOOR).sqrt().where(frame_mask.any(1, keepdim=True), 0.0)
        return Pooled(torch.cat([mean, spread], -1))
