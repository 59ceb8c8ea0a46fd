"""Attention whose keys and values may come from elsewhere, and are computed once."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al., 2017, section 3.2) with the keys and values as a step of their own.

    Args:
        size: width D of the queries and of the result.
        memory_size: width M of what is attended to.
        num_heads: heads H, a divisor of D.
        dropout: on the attention weights, in training.

    Examples:
        >>> attention = Attention(8, 6, 2, 0.0)
        >>> keys, values = attention.project(torch.zeros(1, 5, 6))
        >>> attention(torch.zeros(1, 3, 8), keys, values, None).shape
        torch.Size([1, 3, 8])
    """

    def __init__(self, size: int, memory_size: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.q_proj = nn.Linear(size, size)
        self.k_proj = nn.Linear(memory_size, size)
        self.v_proj = nn.Linear(memory_size, size)
        self.out_proj = nn.Linear(size, size)

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.num_heads, -1).transpose(1, 2)  # (B, H, T, D / H)

    def project(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and values of (B, T, M), each (B, H, T, D / H)."""
        return self._heads(self.k_proj(memory)), self._heads(self.v_proj(memory))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """Compute attention.

        Args:
            x: (B, U, D).
            keys: (B, H, T, D / H), of ``project``.
            values: the same.
            mask: broadcastable to (B, H, U, T), True where a query may attend; None for everywhere.

        Returns:
            (B, U, D).
        """
        dropout = self.dropout if self.training else 0.0
        mixed = nn.functional.scaled_dot_product_attention(self._heads(self.q_proj(x)), keys, values, mask, dropout)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class KeyValueCache:
    """Keys and values of the tokens so far, with room for more: a step writes its own and copies none of the others.

    Gradients do not flow through it.

    Examples:
        >>> cache = KeyValueCache()
        >>> one = torch.zeros(1, 2, 1, 4)
        >>> [cache.extend(one, one)[0].shape[2] for _ in range(3)]
        [1, 2, 3]
    """

    _ROOM = 64

    def __init__(self) -> None:
        self.length = 0
        self._stored: tuple[Tensor, ...] | None = None  # keys and values, (B, H, room, D / H) each

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append those of U new tokens, (B, H, U, D / H), and return all."""
        start, self.length = self.length, self.length + keys.shape[2]
        room = 0 if self._stored is None else self._stored[0].shape[2]
        if self.length > room:
            self._stored = tuple(self._with_room(index, new) for index, new in enumerate((keys, values)))
        assert self._stored is not None
        for stored, new in zip(self._stored, (keys, values), strict=True):
            stored[:, :, start : self.length] = new
        found_keys, found_values = (stored[:, :, : self.length] for stored in self._stored)
        return found_keys, found_values

    def _with_room(self, index: int, new: Tensor) -> Tensor:
        old = new[:, :, :0] if self._stored is None else self._stored[index]
        wider = new.new_zeros(*new.shape[:2], max(2 * old.shape[2], self.length + self._ROOM), new.shape[3])
        wider[:, :, : old.shape[2]] = old
        return wider

    def reorder_(self, rows: Tensor) -> None:
        """See ``bigfoot.models.decoders.text_model.TextCache``."""
        if self._stored is not None:
            self._stored = tuple(stored[rows] for stored in self._stored)


def causal_mask(new: int, past: int, token_mask: Tensor | None, device: torch.device) -> Tensor | None:
    """Mask which tokens attend to which: each to those that are not later and not padding, and to itself.

    To itself also where it is padding: softmax over nothing is NaN, and would reach its neighbours.

    Args:
        new: tokens that attend, U.
        past: tokens before them.
        token_mask: (B, past + U), True = real; None where all are.
        device: of the result.

    Returns:
        (1 or B, 1, U, past + U), True where a token may be attended to; None where that is everywhere.

    Examples:
        >>> causal_mask(2, 1, None, torch.device("cpu"))[0, 0].int().tolist()
        [[1, 1, 0], [1, 1, 1]]
    """
    if new == 1 and token_mask is None:
        return None  # what a cache is for: attention without a mask is faster
    positions = torch.arange(past + new, device=device)
    queries = positions[past:, None]
    mask = (positions <= queries)[None, None]
    if token_mask is None:
        return mask
    return (mask & token_mask[:, None, None, :]) | (positions == queries)


def sinusoids(positions: Tensor, size: int) -> Tensor:
    """Return positions as sines and cosines (Vaswani et al., 2017, section 3.5): no longest text, nothing to learn.

    Args:
        positions: any shape, 0 and up.
        size: width, even.

    Returns:
        The shape of positions and one axis of ``size`` more.

    Examples:
        >>> sinusoids(torch.tensor([0]), 4).tolist()
        [[0.0, 0.0, 1.0, 1.0]]
    """
    steps = torch.arange(size // 2, device=positions.device)
    angles = positions[..., None] * 10_000.0 ** (-steps / (size // 2))
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def token_positions(tokens: Tensor, past: int, token_mask: Tensor | None) -> Tensor:
    """Count the real tokens before each new one, so that padding before a prompt shifts nothing.

    Args:
        tokens: (B, U) new tokens.
        past: tokens before them.
        token_mask: (B, past + U), True = real; None where all are.

    Returns:
        (B, U).
    """
    if token_mask is None:
        return torch.arange(past, past + tokens.shape[1], device=tokens.device).expand_as(tokens)
    return (token_mask.cumsum(-1) - 1).clamp(min=0)[:, past:]
