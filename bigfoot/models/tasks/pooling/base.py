"""The interface of a pooling."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class Pooled(NamedTuple):
    """Output of a pooling.

    Args:
        vectors: (B, P), one for each utterance; zeros for one without a frame.
        weights: (B, H, T) shares of the frames, 0 on padding, where the pooling learns them; else None.
    """

    vectors: Tensor
    weights: Tensor | None = None


class Pooling(nn.Module):
    """Makes one vector of the frames of an utterance; padding is in none of them.

    Args:
        hidden_size: D, width of a frame.
        num_heads: of a pooling that has several.
    """

    width_factor = 1
    """Width of the vector as a multiple of ``hidden_size``."""
    uses_heads = False
    """Whether ``num_heads`` changes anything."""

    def __init__(self, hidden_size: int, num_heads: int = 1) -> None:
        super().__init__()
        self.output_size = self.width_factor * hidden_size

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Pooled:
        """Pool.

        Args:
            frames: (B, T, D), any values on padding.
            frame_mask: (B, T), True = real.

        Returns:
            See ``Pooled``.
        """
        raise NotImplementedError


def masked_mean(frames: Tensor, frame_mask: Tensor) -> Tensor:
    """Compute the mean over the real frames, (B, D); zeros where there is none.

    Args:
        frames: (B, T, D).
        frame_mask: (B, T), True = real.

    Examples:
        >>> import torch
        >>> masked_mean(torch.tensor([[[2.0], [4.0], [9.0]]]), torch.tensor([[True, True, False]])).tolist()
        [[3.0]]
    """
    # where, not a product: NaN on padding times zero is NaN.
    kept = frames.where(frame_mask[..., None], 0.0)
    return kept.sum(1) / frame_mask.sum(1, keepdim=True).clamp(min=1)
