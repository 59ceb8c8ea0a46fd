"""Self-attention over frames, with any number of heads a layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bigfoot.models.dropout import attend, dropout


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al., 2017, section 3.2).

    Args:
        hidden_size: width D of the frames.
        num_heads: heads H of this layer.
        head_dim: width of one head; H times it need not be D.
        dropout: on the attention weights, in training.
    """

    def __init__(self, hidden_size: int, num_heads: int, head_dim: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.dropout = num_heads, head_dim, dropout
        self.q_proj = nn.Linear(hidden_size, num_heads * head_dim)
        self.k_proj = nn.Linear(hidden_size, num_heads * head_dim)
        self.v_proj = nn.Linear(hidden_size, num_heads * head_dim)
        self.out_proj = nn.Linear(num_heads * head_dim, hidden_size)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)  # (B, H, T, head_dim)

    def score_mask(self, x: Tensor, key_mask: Tensor | None, position_bias: Tensor | None) -> Tensor | None:
        """Modify the scores before the softmax.

        Args:
            x: (B, T, D).
            key_mask: (B, 1, 1, T), True where a frame may be attended to; None for all.
            position_bias: of no meaning here.

        Returns:
            Broadcastable to (B, H, T, T): booleans, False where a score does not count, or numbers that are added to
            the scores; None where they stay as they are.
        """
        return key_mask

    def project(
        self, x: Tensor, key_mask: Tensor | None, position_bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Make queries, keys, values, (B, H, T, head_dim) each, and what ``score_mask`` returns.

        Args:
            x: (B, T, D).
            key_mask: see ``forward``.
            position_bias: see there.
        """
        query, key, value = self._heads(self.q_proj(x)), self._heads(self.k_proj(x)), self._heads(self.v_proj(x))
        return query, key, value, self.score_mask(x, key_mask, position_bias)

    def forward(
        self, x: Tensor, key_mask: Tensor | None, output_attentions: bool, position_bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Compute attention.

        Args:
            x: (B, T, D).
            key_mask: (B, 1, 1, T), True where a frame may be attended to; None for all.
            output_attentions: also return the weights, which takes the slower, written-out road.
            position_bias: see ``bigfoot.models.relative_bias``; None for attention that knows no positions.

        Returns:
            (B, T, D), and the weights (B, H, T, T) or None.
        """
        query, key, value, mask = self.project(x, key_mask, position_bias)
        rate, weights = self.dropout if self.training else 0.0, None
        if mask is not None and mask.dtype != torch.bool:
            mask = mask.to(query.dtype)
        if output_attentions:
            scores = query @ key.transpose(-1, -2) * self.head_dim**-0.5
            if mask is not None:
                scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
            weights = scores.softmax(-1)
            mixed = dropout(weights, rate, self.training) @ value
        else:
            mixed = attend(query, key, value, mask, rate)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), weights


class ReusedAttention(nn.Module):
    """Attention without queries and keys: values mixed by another layer's maps (Jang et al., 2023).

    Args:
        hidden_size: width D of the frames.
        num_heads: heads H, as many as the maps have.
        head_dim: width of one head.
        dropout: on the attention weights, in training.
    """

    def __init__(self, hidden_size: int, num_heads: int, head_dim: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.dropout = num_heads, head_dim, dropout
        self.v_proj = nn.Linear(hidden_size, num_heads * head_dim)
        self.out_proj = nn.Linear(num_heads * head_dim, hidden_size)

    def forward(self, x: Tensor, maps: Tensor) -> Tensor:
        """Compute attention.

        Args:
            x: (B, T, D).
            maps: (B, H, T, T), weights of each frame's row, which sum to 1.

        Returns:
            (B, T, D).

        Examples:
            >>> ReusedAttention(8, 2, 4, 0.0)(torch.zeros(1, 3, 8), torch.eye(3).expand(1, 2, 3, 3)).shape
            torch.Size([1, 3, 8])
        """
        value = self.v_proj(x).unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)
        mixed = dropout(maps, self.dropout, self.training) @ value
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


@contextmanager
def keep_values(attentions: Sequence[SelfAttention | ReusedAttention | None]) -> Iterator[list[Tensor | None]]:
    """Keep the value vectors of layers while they run.

    Listened to rather than returned, so that no layer carries what only one of the distillation losses asks for.

    Args:
        attentions: of the layers; None for one without.

    Yields:
        A list that fills with (B, T, H * head_dim) of each; None stays for a layer without attention.

    Examples:
        >>> layer = SelfAttention(4, 2, 2, 0.0)
        >>> with keep_values([layer]) as values:
        ...     _ = layer(torch.zeros(1, 3, 4), None, False)
        >>> [tuple(value.shape) for value in values]
        [(1, 3, 4)]
    """
    values: list[Tensor | None] = [None] * len(attentions)

    def hook(index: int, module: nn.Module) -> RemovableHandle:
        return module.register_forward_hook(lambda _, __, value: values.__setitem__(index, value))

    handles = [hook(index, layer.v_proj) for index, layer in enumerate(attentions) if layer is not None]
    try:
        yield values
    finally:
        for handle in handles:
            handle.remove()


def attention_key_mask(frame_mask: Tensor | None) -> Tensor | None:
    """Shape a frame mask for attention.

    A row without any real frame attends to everything: its output is thrown away, but softmax over nothing is NaN and
    would reach the gradients of its neighbours.

    Args:
        frame_mask: (B, T), True = real; None where all are.

    Returns:
        (B, 1, 1, T) or None.

    Examples:
        >>> attention_key_mask(torch.tensor([[True, False], [False, False]]))[:, 0, 0].tolist()
        [[True, False], [True, True]]
    """
    if frame_mask is None:
        return None
    return (frame_mask | ~frame_mask.any(-1, keepdim=True))[:, None, None, :]
