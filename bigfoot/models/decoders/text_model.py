"""What decoding asks of a decoder, whatever it is inside."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class TextCache(Protocol):
    """State of a decoder after the tokens so far, so that a step computes the new ones alone."""

    def reorder_(self, rows: Tensor) -> None:
        """Reorder rows: each continues from another row's past.

        Args:
            rows: (B,) rows to go on from; a row that is another utterance's has another memory, and is not allowed.
        """


class TextModel(Protocol):
    """A decoder: the next token's logits after each token, given encoder states.

    ``begin_id`` stands before the first token, ``end_id`` behind the last; they may be one.
    """

    begin_id: int
    end_id: int

    def start(self, memory: Tensor, memory_mask: Tensor | None) -> TextCache:
        """Start a cache.

        Args:
            memory: (B, T, M) encoder states.
            memory_mask: (B, T), True = real, wherever the padding stands; None where all are.
        """

    def __call__(
        self,
        tokens: Tensor,
        memory: Tensor,
        memory_mask: Tensor | None = None,
        cache: TextCache | None = None,
        token_mask: Tensor | None = None,
    ) -> Tensor:
        """Compute logits.

        Args:
            tokens: (B, U) new tokens; all of them where there is no cache.
            memory: (B, T, M) encoder states.
            memory_mask: (B, T), True = real; None where all are.
            cache: of the tokens before; the new ones are added to it.
            token_mask: (B, past + U), True = real, for prompts that were padded; None where all are.

        Returns:
            (B, U, V).
        """
