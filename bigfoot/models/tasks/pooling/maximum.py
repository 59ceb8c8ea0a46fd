"""Pooling by the largest value of each channel."""

from __future__ import annotations

import torch
from torch import Tensor

from bigfoot.models.tasks.pooling.base import Pooled, Pooling


class MaxPooling(Pooling):
    """Largest value of each channel over the real frames."""

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Pooled:
        """See ``Pooling``."""
        lowest = torch.finfo(frames.dtype).min
        found = frames.where(frame_mask[..., None], lowest).amax(1)
        return Pooled(found.where(frame_mask.any(1, keepdim=True), 0.0))
