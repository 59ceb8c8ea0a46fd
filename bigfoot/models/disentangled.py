"""Disentangled attention: content and relative positions have products of their own (DeBERTa, He et al., 2020)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bigfoot.models.attention import SelfAttention
from bigfoot.models.block_shape import PRODUCTS
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.low_rank import LowRankLinear


def log_buckets(distances: Tensor, num_buckets: int, max_distance: int) -> Tensor:
    """Sort distances between frames into buckets, those that are far into wider ones.

    Up to half of ``num_buckets`` each distance has its own; behind it they grow logarithmically up to ``max_distance``.

    Args:
        distances: in frames, whole numbers of either sign.
        num_buckets: in each direction; less than 1 leaves the distances as they are.
        max_distance: in frames.

    Returns:
        Numbers of the sign of the distance, of the same shape.

    Examples:
        >>> log_buckets(torch.tensor([-40, -4, 0, 3, 9, 19]), 8, 20).tolist()
        [-9, -4, 0, 3, 6, 7]
    """
    if num_buckets < 1:
        return distances
    middle = num_buckets // 2
    near = distances.abs() < middle
    far = torch.where(near, middle - 1, distances.abs())
    # In this order of operations and in fp32, as where the weights were trained: a border must not move by a frame.
    share = torch.log(far / middle) / torch.log(torch.tensor((max_distance - 1) / middle))
    grown = torch.ceil(share * (middle - 1)) + middle
    return torch.where(far <= middle, distances.float(), grown * distances.sign()).long()


class PositionTable(nn.Module):
    """A vector for each relative position, normed where the shape has it so; all layers read it.

    Args:
        config: the shape.
    """

    def __init__(self, config: BigfootConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.embeddings = nn.Embedding(2 * config.position_span, size) if config.relative_attention else None
        normed = config.norms_position_table
        self.layer_norm = nn.LayerNorm(size, eps=config.layer_norm_eps) if normed else None

    def forward(self) -> Tensor | None:
        """Return the table, (2 * span, D), of positions from the latest frame to the earliest; None without one."""
        if self.embeddings is None:
            return None
        return self.embeddings.weight if self.layer_norm is None else self.layer_norm(self.embeddings.weight)


def apply_weights(linear: nn.Module, x: Tensor) -> Tensor:
    """Apply a linear map to what is no frame: what is done to a layer's input, as in int8, is not done to it.

    Args:
        linear: linear, a product of two, or one of these with an adapter.
        x: (..., D).
    """
    if isinstance(linear, LowRankLinear):
        return apply_weights(linear.up, apply_weights(linear.down, x))
    # Of a subclass, such as one with an adapter, the weight is not the whole map.
    if type(linear) is nn.Linear:
        return nn.functional.linear(x, linear.weight, linear.bias)
    mapped: Tensor = linear(x)
    return mapped


class DisentangledAttention(SelfAttention):
    """Self-attention whose scores add up products of content with content, and of content with relative positions.

    He et al., 2020, section 3.1, as SEW-D has it.

    Args:
        config: the shape.
        num_heads: heads H of this layer.
    """

    def __init__(self, config: BigfootConfig, num_heads: int) -> None:
        super().__init__(config.hidden_size, num_heads, config.head_dim, config.attention_dropout)
        self.num_buckets, self.max_distance = config.position_buckets, config.max_position_embeddings
        self.span, self.products = config.position_span, tuple(config.pos_att_type)
        self.relative = config.relative_attention
        # All products are scaled by how many they are, the one of content with content among them.
        self.share = (1 + len(self.products)) ** -0.5
        self.pos_key_proj: nn.Linear | None = None
        self.pos_query_proj: nn.Linear | None = None
        for name in config.own_position_maps:
            setattr(self, name, nn.Linear(config.hidden_size, num_heads * config.head_dim))

    def project(
        self, x: Tensor, key_mask: Tensor | None, position_bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """See ``SelfAttention``; ``position_bias`` is what ``PositionTable`` returns."""
        query, key, value = self._heads(self.q_proj(x)), self._heads(self.k_proj(x)), self._heads(self.v_proj(x))
        scores = None if position_bias is None else self._position_scores(query, key, position_bias)
        if scores is not None and key_mask is not None:
            scores = scores.masked_fill(~key_mask, float("-inf"))
        return query * self.share, key, value, key_mask if scores is None else scores

    def known_positions(self, table: Tensor) -> dict[str, Tensor]:
        """Return what each product of ``PRODUCTS`` is made with, (1, H, 2 * span, head_dim).

        Args:
            table: of ``PositionTable``.
        """
        maps = {"c2p": self.pos_key_proj or self.k_proj, "p2c": self.pos_query_proj or self.q_proj}
        return {name: self._heads(apply_weights(maps[name], table)[None]) for name in PRODUCTS if name in self.products}

    def rows(self, distances: Tensor) -> Tensor:
        """Return the row of the table for each distance from key to query, in frames."""
        return (log_buckets(distances, self.num_buckets, self.max_distance) + self.span).clamp(0, 2 * self.span - 1)

    def _position_scores(self, query: Tensor, key: Tensor, table: Tensor) -> Tensor | None:
        """(B, H, T, T), or None where no product has positions."""
        frames, known, scores = query.shape[2], self.known_positions(table), []
        places = torch.arange(frames, device=query.device)
        rows = self.rows(torch.arange(1 - frames, frames, device=query.device))
        row = rows[places[:, None] - places + frames - 1]  # of query i and key j
        wide = (*query.shape[:3], frames)
        if "c2p" in known:
            scores.append((query @ known["c2p"].transpose(-1, -2)).gather(-1, row.expand(wide)))
        if "p2c" in known:
            by_key = (key @ known["p2c"].transpose(-1, -2)).gather(-1, row.T.expand(wide))
            scores.append(by_key.transpose(-1, -2))
        return sum(scores[1:], scores[0]) * (self.share / math.sqrt(self.head_dim)) if scores else None
