"""Token ids of prompts and outputs, by the language model's own tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch

from bigfoot.errors import ModelError
from bigfoot.models.speech_llm.packing import Layout
from bigfoot.text.prompts import Markup, Piece, Speech

_CONTENT = "bigfoot content"
"""Stands for the prompt while the chat template is rendered."""
_REMEMBERED = 2**14
"""Texts whose tokens are kept."""


@dataclass(frozen=True)
class PromptTokenizer:
    """Turns the pieces of a prompt into token ids.

    Args:
        tokenizer: of transformers'.
        chat: put prompts into the tokenizer's chat template, as the turn of a user.

    Raises:
        ModelError: there is no end token, or no chat template where one is wanted, or none that writes a turn once.
    """

    tokenizer: Any
    chat: bool = False

    def __post_init__(self) -> None:
        if self.tokenizer.eos_token_id is None:
            raise ModelError("the tokenizer of the language model has no end token (eos_token), which ends an output")
        if self.chat and not self.tokenizer.chat_template:
            raise ModelError("the tokenizer of the language model has no chat template: set chat to false")
        if self.chat:
            _ = self._around  # what is wrong with the template is found here

    @property
    def end_id(self) -> int:
        """The token that ends an output."""
        return int(self.tokenizer.eos_token_id)

    @cached_property
    def begin_ids(self) -> list[int]:
        """What the tokenizer puts before a text: its beginning token, or nothing."""
        begin, plain = self.tokenizer.bos_token_id, self.tokenizer("a").input_ids
        return [int(begin)] if begin is not None and plain[:1] == [begin] else []

    def _tokenize(self, piece: Markup | str) -> Sequence[int]:
        if isinstance(piece, Markup):
            return tuple(self.tokenizer(piece.text, add_special_tokens=False).input_ids)
        # What comes from the data cannot end a turn, or begin one.
        return tuple(self.tokenizer(piece, add_special_tokens=False, split_special_tokens=True).input_ids)

    @cached_property
    def _ids(self) -> Callable[[Markup | str], Sequence[int]]:
        # Turns come back in histories, in every epoch, and once more to be counted.
        return lru_cache(_REMEMBERED)(self._tokenize)

    @cached_property
    def _around(self) -> tuple[Markup, Markup]:
        """What the chat template writes before and after a user's turn."""
        turn = [{"role": "user", "content": _CONTENT}]
        try:
            text = str(self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
        # Templates are programs: jinja's errors, and those of what they call.
        except Exception as error:
            raise ModelError(f"the chat template of the language model cannot be used ({error})") from error
        parts = text.split(_CONTENT)
        if len(parts) != 2:
            count = len(parts) - 1
            raise ModelError(f"the chat template of the language model writes a user's turn {count} times, not once")
        return Markup(parts[0]), Markup(parts[1])

    def lay_out(self, pieces: Sequence[Piece], output: str | None = None, first: int = 0) -> Layout:
        """Tokenize a prompt.

        Args:
            pieces: of ``PromptTemplate.fill``.
            output: to learn or to score, an end token is added; None to generate.
            first: number of the example's first recording in its batch.
        """
        whole: Sequence[Piece] = [self._around[0], *pieces, self._around[1]] if self.chat else pieces
        begin = self.begin_ids
        text = whole[0].text if whole and isinstance(whole[0], Markup) else ""
        if begin and self.chat and text.startswith(self.tokenizer.bos_token):
            begin = []  # The template has written it.
        found: list[torch.Tensor | int] = [torch.tensor(begin, dtype=torch.long)]
        for piece in whole:
            found.append(
                first + piece.index if isinstance(piece, Speech) else torch.tensor(self._ids(piece), dtype=torch.long)
            )
        end = [] if output is None else [*self._ids(output), self.end_id]
        return Layout(tuple(found), torch.tensor(end, dtype=torch.long))

    def decode(self, tokens: Sequence[int]) -> str:
        """Write tokens as text, special ones left out."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))
