"""``MiniGPT``: a small GPT that attends to encoder states, trained from nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from bigfoot.models.attention import attention_key_mask
from bigfoot.models.decoders.attention import Attention, KeyValueCache, causal_mask, sinusoids, token_positions
from bigfoot.models.dropout import Dropout


@dataclass
class MiniGPTCache:
    """Keys and values by layer.

    Args:
        memory: of the encoder states, of each stream, computed once, (B, H, T, D / H) each.
        own: of the tokens so far.
    """

    memory: list[list[tuple[Tensor, Tensor]]]
    own: list[KeyValueCache]

    @property
    def length(self) -> int:
        """Tokens so far."""
        return self.own[0].length

    def reorder_(self, rows: Tensor) -> None:
        """See ``TextCache``."""
        for cache in self.own:
            cache.reorder_(rows)


class DecoderLayer(nn.Module):
    """Attention to earlier tokens, to the memory, and a feed-forward block, each with its norm before it.

    Of several streams each has an attention of its own; what they give is added, all but the first's through gates
    that are closed at the start (Alayrac et al., 2022, section 2.2).

    Args:
        size: width D.
        memory_size: width M of the encoder states.
        num_heads: of all attentions.
        inner_size: of the feed-forward block.
        dropout: behind each block and on attention weights.
        num_streams: S, side by side in the memory.
    """

    def __init__(
        self, size: int, memory_size: int, num_heads: int, inner_size: int, dropout: float, num_streams: int = 1
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(size)
        self.attention = Attention(size, size, num_heads, dropout)
        self.memory_norm = nn.LayerNorm(size)
        self.memory_attention = Attention(size, memory_size, num_heads, dropout)
        others = [Attention(size, memory_size, num_heads, dropout) for _ in range(num_streams - 1)]
        self.stream_attentions = nn.ModuleList(others)
        self.stream_gates = nn.Parameter(torch.zeros(num_streams - 1)) if others else None
        self.feed_forward_norm = nn.LayerNorm(size)
        self.feed_forward = nn.Sequential(nn.Linear(size, inner_size), nn.GELU(), nn.Linear(inner_size, size))
        self.dropout = Dropout(dropout)

    @property
    def _attentions(self) -> list[Attention]:
        """One a stream."""
        return [self.memory_attention, *cast("list[Attention]", list(self.stream_attentions))]

    def project(self, memory: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the keys and values of each stream of (B, T, S * M)."""
        streams = memory.chunk(len(self._attentions), dim=-1)
        return [attention.project(stream) for attention, stream in zip(self._attentions, streams, strict=True)]

    def _attend_to_memory(self, x: Tensor, memory: list[tuple[Tensor, Tensor]], memory_mask: Tensor | None) -> Tensor:
        attentions = zip(self._attentions, memory, strict=True)
        first, *others = (attention(x, *stream, memory_mask) for attention, stream in attentions)
        if self.stream_gates is None:
            return first
        return sum((gate * other for gate, other in zip(self.stream_gates.tanh(), others, strict=True)), start=first)

    def forward(
        self,
        x: Tensor,
        cache: KeyValueCache | None,
        memory: list[tuple[Tensor, Tensor]],
        mask: Tensor | None,
        memory_mask: Tensor | None,
    ) -> Tensor:
        """Map (B, U, D) to (B, U, D).

        Args:
            x: (B, U, D), new tokens.
            cache: of the tokens before, to which these are added; None where there are none.
            memory: of ``project``.
            mask: of ``causal_mask``.
            memory_mask: (B, 1, 1, T), True = real; None where all are.
        """
        normed = self.attention_norm(x)
        own = self.attention.project(normed)
        if cache is not None:
            own = cache.extend(*own)
        x = x + self.dropout(self.attention(normed, *own, mask))
        x = x + self.dropout(self._attend_to_memory(self.memory_norm(x), memory, memory_mask))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class MiniGPT(nn.Module):
    """Pre-norm GPT with cross-attention (Radford et al., 2019; Vaswani et al., 2017) and tied embeddings.

    Positions are sinusoids, so that there is no longest text. The same id may start and end a text: CTC's blank does,
    which no text holds, so that decoder and CTC head number tokens alike.

    Args:
        vocab_size: tokens V.
        end_id: stands before the first and behind the last token.
        hidden_size: width D, even.
        num_layers: how many layers.
        num_heads: of each attention, a divisor of D.
        memory_size: width M of the encoder states; D by default.
        inner_size: of the feed-forward blocks; 4 D by default.
        dropout: in training.
        num_streams: S, which stand side by side in a memory of width S * M.

    Examples:
        >>> model = MiniGPT(vocab_size=32, end_id=0, hidden_size=16, num_layers=2, num_heads=2)
        >>> model(torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, 5, 16)).shape
        torch.Size([1, 3, 32])
    """

    def __init__(
        self,
        vocab_size: int,
        end_id: int,
        hidden_size: int = 256,
        num_layers: int = 4,
        num_heads: int = 4,
        memory_size: int | None = None,
        inner_size: int | None = None,
        dropout: float = 0.1,
        num_streams: int = 1,
    ) -> None:
        super().__init__()
        self.begin_id = self.end_id = end_id
        self.hidden_size = hidden_size
        self.embedding = nn.Embedding(vocab_size, hidden_size)
        shape = (hidden_size, memory_size or hidden_size, num_heads, inner_size or 4 * hidden_size, dropout)
        self.layers = nn.ModuleList([DecoderLayer(*shape, num_streams) for _ in range(num_layers)])
        self.norm = nn.LayerNorm(hidden_size)
        self.dropout = Dropout(dropout)
        nn.init.normal_(self.embedding.weight, std=hidden_size**-0.5)

    def start(self, memory: Tensor, memory_mask: Tensor | None) -> MiniGPTCache:
        """See ``TextModel``."""
        return MiniGPTCache(self._project(memory), [KeyValueCache() for _ in self.layers])

    def _project(self, memory: Tensor) -> list[list[tuple[Tensor, Tensor]]]:
        return [layer.project(memory) for layer in self._layers]

    @property
    def _layers(self) -> list[DecoderLayer]:
        return cast("list[DecoderLayer]", list(self.layers))

    def forward(
        self,
        tokens: Tensor,
        memory: Tensor,
        memory_mask: Tensor | None = None,
        cache: MiniGPTCache | None = None,
        token_mask: Tensor | None = None,
    ) -> Tensor:
        """See ``TextModel``."""
        past = 0 if cache is None else cache.length
        seen = self._project(memory) if cache is None else cache.memory
        mask = causal_mask(tokens.shape[1], past, token_mask, tokens.device)
        positions = sinusoids(token_positions(tokens, past, token_mask), self.hidden_size)
        x = self.embedding(tokens) * math.sqrt(self.hidden_size)
        x = self.dropout(x + positions.to(x.dtype))
        key_mask = attention_key_mask(memory_mask)
        for index, layer in enumerate(self._layers):
            x = layer(x, None if cache is None else cache.own[index], seen[index], mask, key_mask)
        return self.norm(x) @ self.embedding.weight.T
