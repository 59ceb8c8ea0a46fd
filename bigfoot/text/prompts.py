"""Prompts with speech in them: a template, and what is put into its slots."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from bigfoot.errors import DataError, ModelError

AUDIO, HISTORY, INSTRUCTION = "audio", "history", "instruction"
SLOTS = (AUDIO, HISTORY, INSTRUCTION)
"""What a template may name in braces."""

_SLOT = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True)
class Markup:
    """Text of the template, whose special tokens count as such.

    Args:
        text: to tokenize.
    """

    text: str


@dataclass(frozen=True)
class Speech:
    """A place for the embeddings of a recording.

    Args:
        index: which of the example's recordings, 0-based.
    """

    index: int = 0


Piece: TypeAlias = Markup | str | Speech
"""Plain ``str`` comes from the data: special tokens inside it are letters like all others."""


@dataclass(frozen=True)
class PromptTemplate:
    """A prompt with slots in braces; ``{{`` and ``}}`` stand for a brace.

    Args:
        text: such as ``{instruction} {history} {audio} Answer:``.

    Raises:
        ModelError: an unknown slot, a lone brace, or not exactly one ``{audio}``.

    Examples:
        >>> template = PromptTemplate("{instruction} {audio} Text:")
        >>> template.fill({"instruction": "Transcribe."})
        ('Transcribe.', Markup(text=' '), Speech(index=0), Markup(text=' Text:'))
    """

    text: str

    def __post_init__(self) -> None:
        parts = self.parts
        unknown = [part for part in parts if isinstance(part, str) and part not in SLOTS]
        if unknown:
            raise ModelError(f"prompt {self.text!r}: {unknown[0]!r} in braces is none of {', '.join(SLOTS)}")
        if parts.count(AUDIO) != 1:
            count = parts.count(AUDIO)
            raise ModelError(f"prompt {self.text!r} should hold {{audio}} once, and holds it {count} times")

    @property
    def parts(self) -> tuple[Markup | str, ...]:
        """Text between the slots, and the slots' names."""
        found: list[Markup | str] = []
        plain, end = "", 0
        for match in _SLOT.finditer(self.text):
            plain += self.text[end : match.start()]
            end = match.end()
            if match[0] in ("{{", "}}"):
                plain += match[0][0]
            elif match[1] is None:
                raise ModelError(f"prompt {self.text!r}: a lone {match[0]}; write it twice where it is meant")
            else:
                found += [Markup(plain)] * bool(plain) + [match[1].strip()]
                plain = ""
        plain += self.text[end:]
        return (*found, *([Markup(plain)] * bool(plain)))

    def fill(self, values: Mapping[str, str | Sequence[Piece]]) -> tuple[Piece, ...]:
        """Put values into the slots.

        Args:
            values: ``history`` and ``instruction``, where the template names them: text, or pieces where turns are
                speech. Recording 0 belongs to ``{audio}``, the others to the history.

        Returns:
            The pieces of the prompt, in order, without empty ones.

        Raises:
            DataError: a slot without a value.
        """
        pieces: list[Piece] = []
        for part in self.parts:
            if isinstance(part, Markup):
                pieces.append(part)
            elif part == AUDIO:
                pieces.append(Speech())
            elif part not in values:
                raise DataError(f"prompt {self.text!r}: this example has no {part}")
            else:
                value = values[part]
                pieces += [value] if isinstance(value, str) else list(value)
        return tuple(piece for piece in pieces if piece != "")
