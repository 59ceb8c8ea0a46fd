"""Attention with a gated relative position bias, as WavLM has it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bigfoot.models.attention import SelfAttention

GATE_FEATURES = 4
"""A gate has this many features a number, which are summed; the published weights have them."""


def relative_buckets(distances: Tensor, num_buckets: int, max_distance: int) -> Tensor:
    """Sort distances between frames into buckets (Raffel et al., 2020, section 2.1).

    Half of the buckets are for frames that come later. Of each half, the first half holds one distance a bucket, the
    others grow logarithmically up to ``max_distance``; all beyond it share the last.

    Args:
        distances: in frames, of any shape, positive for later frames.
        num_buckets: 4 or more.
        max_distance: in frames, more than a quarter of ``num_buckets``.

    Returns:
        Numbers from 0 to ``num_buckets - 1`` of the same shape.

    Examples:
        >>> relative_buckets(torch.tensor([-900, -9, -1, 0, 1, 9, 900]), 16, 64).tolist()
        [7, 5, 1, 0, 9, 13, 15]
    """
    side = num_buckets // 2
    exact = side // 2
    near = distances.abs()
    # In this order of operations and in fp32, as where the weights were trained: a border must not move by a frame.
    share = torch.log(near.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = (exact + share * (side - exact)).long().clamp(max=side - 1)
    return torch.where(near < exact, near, far) + side * (distances > 0)


class GatedRelativeAttention(SelfAttention):
    """Self-attention that adds to its scores a bias by relative position, gated by the frame that asks.

    WavLM (Chen et al., 2022, the section on model structure). The bias has one column for each of the *model's* heads,
    and a head's gate reads that head's share of the frame: a layer with fewer heads names the ones it has.

    Args:
        hidden_size: width D of the frames.
        num_heads: heads H of this layer.
        head_dim: width of one head; D is a multiple of it.
        dropout: on the attention weights, in training.
        position_heads: which of the model's ``hidden_size // head_dim`` heads they are, (H,).
    """

    def __init__(
        self, hidden_size: int, num_heads: int, head_dim: int, dropout: float, position_heads: Sequence[int]
    ) -> None:
        super().__init__(hidden_size, num_heads, head_dim, dropout)
        all_heads = list(range(hidden_size // head_dim))
        self.position_heads = None if list(position_heads) == all_heads else list(position_heads)
        self.gru_rel_pos_const = nn.Parameter(torch.ones(1, num_heads, 1, 1))
        self.gru_rel_pos_linear = nn.Linear(head_dim, 2 * GATE_FEATURES)

    def _gate(self, x: Tensor) -> Tensor:
        """Compute the share of the bias for each head and frame, (B, H, T, 1)."""
        shares = x.unflatten(-1, (-1, self.head_dim))  # (B, T, heads of the model, head_dim)
        if self.position_heads is not None:
            shares = shares[:, :, self.position_heads]
        opened = self.gru_rel_pos_linear(shares).unflatten(-1, (2, GATE_FEATURES)).sum(-1).sigmoid()
        update, reset = opened.transpose(1, 2).chunk(2, dim=-1)
        return update * (reset * self.gru_rel_pos_const - 1.0) + 2.0

    def score_mask(self, x: Tensor, key_mask: Tensor | None, position_bias: Tensor | None) -> Tensor | None:
        """See ``SelfAttention``; ``position_bias`` is (heads of the model, T, T)."""
        assert position_bias is not None, "RelativePositionAttention computes it, once for all layers"
        if self.position_heads is not None:
            position_bias = position_bias[self.position_heads]
        bias = self._gate(x) * position_bias
        return bias if key_mask is None else bias.masked_fill(~key_mask, float("-inf"))


class RelativePositionAttention(GatedRelativeAttention):
    """The first layer's attention, which holds the table of position biases for all layers.

    Args:
        hidden_size: see ``GatedRelativeAttention``.
        num_heads: see there.
        head_dim: see there.
        dropout: see there.
        position_heads: see there.
        num_buckets: rows of the table.
        max_distance: in frames, where the last bucket starts.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        head_dim: int,
        dropout: float,
        position_heads: Sequence[int],
        num_buckets: int,
        max_distance: int,
    ) -> None:
        super().__init__(hidden_size, num_heads, head_dim, dropout, position_heads)
        self.max_distance = max_distance
        self.rel_attn_embed = nn.Embedding(num_buckets, hidden_size // head_dim)

    def compute_position_bias(self, frames: int) -> Tensor:
        """Return the bias of every pair of frames before any gate, (heads of the model, T, T).

        Args:
            frames: T.
        """
        table = self.rel_attn_embed
        distances = torch.arange(1 - frames, frames, device=table.weight.device)
        by_distance = table(relative_buckets(distances, table.num_embeddings, self.max_distance)).T
        # Row i of the result is a window of it; looking up all T * T pairs would cost as much memory as attention does.
        return by_distance.unfold(-1, frames, 1).flip(1)
