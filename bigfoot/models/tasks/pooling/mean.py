"""Pooling by the mean of the frames."""

from __future__ import annotations

from torch import Tensor

from bigfoot.models.tasks.pooling.base import Pooled, Pooling, masked_mean


class MeanPooling(Pooling):
    """Mean of the real frames."""

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Pooled:
        """See ``Pooling``."""
        return Pooled(masked_mean(frames, frame_mask))
