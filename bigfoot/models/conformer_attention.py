"""Self-attention of conformer layers, with the positions that they know."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bigfoot.models.attention import SelfAttention
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.conformer_positions import relative_sinusoids, rotate, shift_distances


class ConformerAttention(SelfAttention):
    """Self-attention under the names that conformers of transformers have.

    Positions by ``config.position_embeddings_type``: ``relative`` adds to the scores a product of queries with
    projected sinusoids (Dai et al., 2019, section 3.3), ``relative_key`` one with learned vectors of distances up to a
    limit (Shaw et al., 2018, section 3.2); ``rotary`` turns the frames before queries and keys are made of them (Su et
    al., 2021); with None there are none.

    Args:
        config: the shape.
        num_heads: heads H of this layer.
        knows_positions: whether it has the shape's positions, or none.
    """

    def __init__(self, config: BigfootConfig, num_heads: int, *, knows_positions: bool = True) -> None:
        nn.Module.__init__(self)
        size, width = config.hidden_size, config.head_dim
        self.num_heads, self.head_dim, self.dropout = num_heads, width, config.attention_dropout
        self.positions = config.position_embeddings_type if knows_positions else None
        self.linear_q = nn.Linear(size, num_heads * width)
        self.linear_k = nn.Linear(size, num_heads * width)
        self.linear_v = nn.Linear(size, num_heads * width)
        self.linear_out = nn.Linear(num_heads * width, size)
        if self.positions == "relative":
            self.linear_pos = nn.Linear(config.sinusoid_size, num_heads * width, bias=False)
            self.pos_bias_u = nn.Parameter(torch.zeros(num_heads, width))
            self.pos_bias_v = nn.Parameter(torch.zeros(num_heads, width))
        elif self.positions == "relative_key":
            self.left, self.right = config.left_max_position_embeddings, config.right_max_position_embeddings
            self.distance_embedding = nn.Embedding(self.left + self.right + 1, width)

    @property
    def q_proj(self) -> nn.Linear:  # type: ignore[override]
        """The map to queries, by the name that it has in the other block."""
        return self.linear_q

    @property
    def k_proj(self) -> nn.Linear:  # type: ignore[override]
        """The map to keys."""
        return self.linear_k

    @property
    def v_proj(self) -> nn.Linear:  # type: ignore[override]
        """The map to values."""
        return self.linear_v

    @property
    def out_proj(self) -> nn.Linear:  # type: ignore[override]
        """The map of what was mixed."""
        return self.linear_out

    def project(
        self, x: Tensor, key_mask: Tensor | None, position_bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """See ``SelfAttention``; for rotary positions ``position_bias`` is (2, T, head_dim) of cosines and sines."""
        turned = x
        if self.positions == "rotary":
            assert position_bias is not None, "the encoder computes it, once for all layers"
            turned = rotate(x, position_bias)
        query, key, value = self._heads(self.q_proj(turned)), self._heads(self.k_proj(turned)), self.v_proj(x)
        bias = self._position_scores(query)
        if self.positions == "relative":
            query = query + self.pos_bias_u[:, None]
        if bias is not None and key_mask is not None:
            bias = bias.masked_fill(~key_mask, float("-inf"))
        return query, key, self._heads(value), key_mask if bias is None else bias

    def _position_scores(self, query: Tensor) -> Tensor | None:
        """(B, H, T, T), or None where positions are not in the scores."""
        frames = query.shape[2]
        if self.positions == "relative":
            sinusoids = relative_sinusoids(frames, self.linear_pos.in_features, query.device)
            known = self._heads(self.linear_pos(sinusoids.to(query.dtype))[None])  # (1, H, 2T - 1, head_dim)
            scores = shift_distances((query + self.pos_bias_v[:, None]) @ known.transpose(-1, -2), frames)
        elif self.positions == "relative_key":
            places = torch.arange(frames, device=query.device)
            distance = (places - places[:, None]).clamp(-self.left, self.right) + self.left
            scores = query @ self.distance_embedding.weight.to(query.dtype).T  # (B, H, T, distances)
            scores = scores.gather(-1, distance.expand(*query.shape[:3], frames))
        else:
            return None
        return scores * self.head_dim**-0.5
