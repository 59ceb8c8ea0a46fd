"""Positions of frames as conformer layers take them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bigfoot.models.configuration import BigfootConfig


def relative_sinusoids(frames: int, size: int, device: torch.device | None = None) -> Tensor:
    """Return sinusoids of all distances between frames (Dai et al., 2019, section 3.3).

    Args:
        frames: T.
        size: of a vector, even.
        device: where.

    Returns:
        (2T - 1, size), of a query T - 1 frames behind its key first, T - 1 frames before it last.

    Examples:
        >>> relative_sinusoids(2, 4)[:, 0].tolist()
        [0.8414709568023682, 0.0, -0.8414709568023682]
    """
    distances = torch.arange(frames - 1, -frames, -1, device=device).float()[:, None]
    steps = torch.arange(0, size, 2, device=device).float()
    angles = distances * torch.exp(steps * -(math.log(10000.0) / size))
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


def shift_distances(scores: Tensor, frames: int) -> Tensor:
    """Bring scores by distance to scores by key (Dai et al., 2019, appendix B).

    Args:
        scores: (..., T, 2T - 1), of distances as in ``relative_sinusoids``.
        frames: T.

    Returns:
        (..., T, T): of query i and key j that of the distance i - j.

    Examples:
        >>> shift_distances(torch.tensor([[1, 0, -1], [1, 0, -1]]), 2).tolist()
        [[0, -1], [1, 0]]
    """
    places = torch.arange(frames, device=scores.device)
    distance = frames - 1 - places[:, None] + places
    return scores.gather(-1, distance.expand(*scores.shape[:-1], frames))


class RotaryPositions(nn.Module):
    """Cosines and sines by which frames are turned (Su et al., 2021, section 3.4.2), the same for all layers.

    Args:
        config: the shape.
    """

    inv_freq: Tensor

    def __init__(self, config: BigfootConfig) -> None:
        super().__init__()
        self.size, self.base = config.head_dim, config.rotary_embedding_base
        # In checkpoints of the first conformers alone; those of w2v-BERT compute them.
        written = config.family == "wav2vec2-conformer"
        self.register_buffer("inv_freq", self.compute_frequencies(), persistent=written)

    def compute_frequencies(self) -> Tensor:
        """Return the angle per frame of each pair of channels, (head_dim / 2,)."""
        steps = torch.arange(0, self.size, 2).float()
        return 1.0 / (self.base ** (steps / self.size))

    def forward(self, frames: int) -> Tensor:
        """Return cosines and sines, (2, T, head_dim).

        Args:
            frames: T.
        """
        angles = torch.arange(frames, device=self.inv_freq.device).type_as(self.inv_freq)[:, None] * self.inv_freq
        both = torch.cat([angles, angles], -1)
        return torch.stack([both.cos(), both.sin()])


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Turn the pairs of channels (c, c + head_dim / 2) of every head's share of frames.

    Args:
        x: (B, T, D), D a multiple of head_dim.
        turn: see ``RotaryPositions``.

    Returns:
        (B, T, D).

    Examples:
        >>> rotate(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[0.0, 0.0]], [[1.0, 1.0]]])).tolist()
        [[[-2.0, 1.0]]]
    """
    cos, sin = turn[:, :, None].to(x.dtype)  # (T, 1, head_dim) each
    shares = x.unflatten(-1, (-1, cos.shape[-1]))
    first, second = shares.chunk(2, -1)
    return (shares * cos + torch.cat([-second, first], -1) * sin).flatten(2)
