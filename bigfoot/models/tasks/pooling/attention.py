"""Pooling by learned shares of the frames (Safari et al., 2020), with one head or several."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bigfoot.models.tasks.pooling.base import Pooled, Pooling


class AttentionPooling(Pooling):
    """Sum of the real frames, each channel weighted by the shares of its head.

    A head scores frames by a layer of its own and sums its part of the channels: one head sums all of them by the same
    shares, H heads sum D / H channels each.

    Args:
        hidden_size: D, a multiple of ``num_heads``.
        num_heads: H.
    """

    uses_heads = True

    def __init__(self, hidden_size: int, num_heads: int = 1) -> None:
        super().__init__(hidden_size)
        self.num_heads = num_heads
        self.hidden = nn.Linear(hidden_size, hidden_size)
        self.score = nn.Linear(hidden_size, num_heads)

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Pooled:
        """See ``Pooling``."""
        batch, length, size = frames.shape
        frames = frames.where(frame_mask[..., None], 0.0)
        scores = self.score(torch.tanh(self.hidden(frames))).transpose(1, 2)  # (B, H, T)
        mask = frame_mask[:, None, :]
        # The lowest number, not minus infinity: a row without a frame would be 0 / 0.
        shares = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1) * mask
        parts = frames.view(batch, length, self.num_heads, size // self.num_heads)
        vectors = torch.einsum("bht,bthd->bhd", shares, parts).reshape(batch, size)
        return Pooled(vectors, shares)
