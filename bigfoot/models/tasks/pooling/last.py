"""Pooling by the last frame."""

from __future__ import annotations

from torch import Tensor

from bigfoot.models.tasks.pooling.base import Pooled, Pooling


class LastPooling(Pooling):
    """The last real frame."""

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Pooled:
        """See ``Pooling``; real frames stand at the front of a row."""
        last = (frame_mask.sum(1) - 1).clamp(min=0)
        index = last[:, None, None].expand(-1, 1, frames.shape[-1])
        found = frames.where(frame_mask[..., None], 0.0).gather(1, index).squeeze(1)
        return Pooled(found)
