"""Token ids of prompts and outputs, by the language model's own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bigfoot.errors import ModelError
from bigfoot.models.speech_llm.packing import Layout
from bigfoot.text.prompts import Markup, Piece, Speech

_CONTENT = "bigfoot content"
"""Stands for the prompt while the chat template is rendered."""


@dataclass(frozen=True)
class PromptTokenizer:
    """Turns the pieces of a prompt into token ids.

    Args:
        tokenizer: of transformers'.
        chat: put prompts into the tokenizer's chat template, as the turn of a user.

    Raises:
        ModelError: there is no end token, or no chat template where one is wanted.
    """

    tokenizer: Any
    chat: bool = False

    def __post_init__(self) -> None:
        if self.tokenizer.eos_token_id is None:
            raise ModelError("the tokenizer of the language model has no end token (eos_token), which ends an output")
        if self.chat and not self.tokenizer.chat_template:
            raise ModelError("the tokenizer of the language model has no chat template: set chat to false")

    @property
    def end_id(self) -> int:
        """The token that ends an output."""
        return int(self.tokenizer.eos_token_id)

    @property
    def begin_ids(self) -> list[int]:
        """What the tokenizer puts before a text: its beginning token, or nothing."""
        begin, plain = self.tokenizer.bos_token_id, self.tokenizer("a").input_ids
        return [int(begin)] if begin is not None and plain[:1] == [begin] else []

    def _ids(self, piece: Markup | str) -> list[int]:
        if isinstance(piece, Markup):
            return list(self.tokenizer(piece.text, add_special_tokens=False).input_ids)
        # What comes from the data cannot end a turn, or begin one.
        return list(self.tokenizer(piece, add_special_tokens=False, split_special_tokens=True).input_ids)

    def _in_chat(self, pieces: Sequence[Piece]) -> list[Piece]:
        turn = [{"role": "user", "content": _CONTENT}]
        text = self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        before, found, after = text.partition(_CONTENT)
        if not found:
            raise ModelError("the chat template of the language model leaves out what a user writes")
        return [Markup(before), *pieces, Markup(after)]

    def lay_out(self, pieces: Sequence[Piece], output: str | None = None, first: int = 0) -> Layout:
        """Tokenize a prompt.

        Args:
            pieces: of ``PromptTemplate.fill``.
            output: to learn or to score, an end token is added; None to generate.
            first: number of the example's first recording in its batch.
        """
        whole = self._in_chat(pieces) if self.chat else [*pieces]
        begin = self.begin_ids
        text = whole[0].text if isinstance(whole[0], Markup) else ""
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
