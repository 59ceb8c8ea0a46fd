"""Gated cross-attention between text and speech (Alayrac et al., 2022, section 3.1.2, in both directions)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bigfoot.models.fusion.streams import Frames


class GatedCrossAttention(nn.Module):
    """Adds to each position what it attends to in another sequence, times a learned gate that starts at 0.

    Args:
        width: of both sequences.
        num_heads: that divide it.
        dropout: of the result, in training.

    Examples:
        >>> attend = GatedCrossAttention(width=8, num_heads=2)
        >>> one = Frames(torch.randn(1, 3, 8), torch.ones(1, 3, dtype=torch.bool))
        >>> torch.equal(attend(one, one), one.features)
        True
    """

    def __init__(self, width: int, num_heads: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.norm_queries, self.norm_keys = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries, self.keys = nn.Linear(width, width), nn.Linear(width, width)
        self.values, self.output = nn.Linear(width, width), nn.Linear(width, width)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, asking: Frames, asked: Frames) -> Tensor:
        """Attend.

        Args:
            asking: (B, T, D) whose positions attend.
            asked: (B, S, D) that they attend to; a row without a real frame adds nothing.

        Returns:
            (B, T, D).
        """
        keys = self.norm_keys(asked.features.where(asked.frame_mask[..., None], 0.0))
        queries = self._split(self.queries(self.norm_queries(asking.features)))
        # A row of padding alone would be all minus infinity, and its softmax NaN.
        anything = asked.frame_mask.any(1, keepdim=True)
        mask = (asked.frame_mask | ~anything)[:, None, None]
        found = nn.functional.scaled_dot_product_attention(
            queries, self._split(self.keys(keys)), self._split(self.values(keys)), mask,
            dropout_p=self.dropout if self.training else 0.0,
        )  # fmt: skip
        merged = self.output(found.transpose(1, 2).flatten(2))
        return asking.features + self.gate.tanh() * merged.where(anything[..., None], 0.0)

    def _split(self, sequence: Tensor) -> Tensor:
        return sequence.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
