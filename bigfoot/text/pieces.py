"""A tokenizer that only reads: what a deployed file knows of the one its model was trained with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn

from bigfoot.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class PieceTokenizer(Tokenizer):
    """Tokens and what each adds to a text, in which sentencepiece's, phonemes and characters are alike.

    Args:
        vocabulary: token by id.
        texts: what each adds, spaces in front of or between words among it; nothing for specials.
        blank: id of CTC's blank.
        unknown: see ``Tokenizer.unknown_id``.
        cleans_up: see ``Tokenizer``.
        final_sigma: see ``Tokenizer``.

    Raises:
        ValueError: not one text a token.

    Examples:
        >>> PieceTokenizer(("<pad>", "_ON", "E"), ("", " ON", "E"), 0).decode_ctc([1, 1, 0, 2, 1, 2])
        'ONE ONE'
    """

    vocabulary: tuple[str, ...]
    texts: tuple[str, ...]
    blank: int
    unknown: int | None = None
    cleans_up: bool = False
    final_sigma: bool = False
    kind: ClassVar[str] = "pieces"

    def __post_init__(self) -> None:
        """Refuse tokens that could not be read."""
        if len(self.texts) != len(self.vocabulary):
            raise ValueError(f"{len(self.texts)} texts for {len(self.vocabulary)} tokens")

    @property
    def blank_id(self) -> int:
        """See ``Tokenizer``."""
        return self.blank

    @property
    def unknown_id(self) -> int | None:
        """See ``Tokenizer``."""
        return self.unknown

    @property
    def pieces(self) -> tuple[str, ...]:
        """See ``Tokenizer``."""
        return self.texts

    @property
    def characters(self) -> None:
        """None: it does not tokenize."""
        return None

    def encode(self, text: str) -> NoReturn:
        """Refuse: the segmentation of texts is not in a deployed file."""
        raise ValueError(f"{text!r} cannot be tokenized: this tokenizer only reads")
