"""A tokenizer of Hugging Face's under CTC, by the package ``tokenizers`` alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bigfoot.errors import MissingExtraError, ModelError
from bigfoot.text.tokenizer import SPECIALS, Tokenizer, is_special, name_unused

if TYPE_CHECKING:
    from tokenizers import Tokenizer as LibraryTokenizer

TOKENIZER_FILE = "tokenizer.json"


def _open(content: str) -> LibraryTokenizer:
    # At first use: a deployed model of characters does not need it.
    try:
        from tokenizers import Tokenizer as LibraryTokenizer
    except ImportError as error:
        raise MissingExtraError("text", "tokenizers") from error
    try:
        return LibraryTokenizer.from_str(content)
    except Exception as error:  # the package raises nothing more special
        raise ModelError(f"{TOKENIZER_FILE} is no tokenizer of Hugging Face's: {str(error)[:300]}") from error


@dataclass(frozen=True)
class HuggingFaceTokenizer(Tokenizer):
    """Any tokenizer of a ``tokenizer.json``: byte-level BPE, WordPiece, unigram, ...

    Args:
        vocabulary: token by id; the last is CTC's blank where the file has no ``<pad>``.
        content: of ``tokenizer.json``.
    """

    vocabulary: tuple[str, ...]
    content: str = field(repr=False)
    kind: ClassVar[str] = "huggingface"

    @cached_property
    def _library(self) -> LibraryTokenizer:
        return _open(self.content)

    @property
    def blank_id(self) -> int:
        """Id of ``<pad>``."""
        return self._ids[SPECIALS[0]]

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """What each token adds behind another one, as the file's own decoder has it."""
        library, known = self._library, self._library.get_vocab_size()
        named = (index for index, token in enumerate(self.vocabulary[:known]) if token.isalnum())
        plain = next(named, 0)
        before = library.decode([plain])
        return tuple(
            "" if index >= known or is_special(token) else library.decode([plain, index])[len(before) :]
            for index, token in enumerate(self.vocabulary)
        )

    @property
    def characters(self) -> None:
        """None: the file's own normalization decides."""
        return None

    @cached_property
    def _unknown_id(self) -> int | None:
        found = [index for index, token in enumerate(self.vocabulary) if token.lower() in ("<unk>", "[unk]")]
        return found[0] if found else None

    def unknown_characters(self, text: str) -> set[str]:
        """Return the characters that become the unknown token."""
        if self._unknown_id is None:
            return set()
        return {character for character in set(text) if self._unknown_id in self._encode(character)}

    def _encode(self, text: str) -> list[int]:
        return list(self._library.encode(text, add_special_tokens=False).ids)

    def encode(self, text: str) -> list[int]:
        """Tokenize a text; see ``Tokenizer.encode``."""
        ids = self._encode(text)
        if self._unknown_id is not None and self._unknown_id in ids:
            unknown = " ".join(map(repr, sorted(self.unknown_characters(text)))) or "a word"
            raise ValueError(f"outside the vocabulary: {unknown} in {text!r}")
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Read label ids as the file's own decoder does."""
        size = self._library.get_vocab_size()
        kept = [index for index in ids if 0 <= index < size and not is_special(self.vocabulary[index])]
        return " ".join(self._library.decode(kept).split())

    def to_files(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Return the vocabulary, and the file as it was given."""
        return {"vocabulary": list(self.vocabulary)}, {TOKENIZER_FILE: self.content.encode()}


def load_huggingface_tokenizer(path: str | Path) -> HuggingFaceTokenizer:
    """Take the tokenizer of a ``tokenizer.json`` for CTC.

    Args:
        path: the file, or a folder with it.

    Returns:
        The tokenizer, with a blank of its own behind the others where it has no ``<pad>``.

    Raises:
        ModelError: there is no such file, or it is none of the package's.
    """
    file = Path(path) / TOKENIZER_FILE if Path(path).is_dir() else Path(path)
    try:
        content = file.read_text(encoding="utf-8")
        library = _open(content)
    except (ModelError, OSError, ValueError) as error:
        message = f"{file}: no tokenizer of Hugging Face's ({error}); name a folder with {TOKENIZER_FILE}"
        raise ModelError(message) from error
    named = {index: token for token, index in library.get_vocab().items()}
    vocabulary = [named.get(index, f"<unused{index}>") for index in range(max(named) + 1)]
    return HuggingFaceTokenizer((*vocabulary, *({SPECIALS[0]} - set(vocabulary))), content)


@dataclass(frozen=True)
class HeadTokenizer(HuggingFaceTokenizer):
    """A ``tokenizer.json`` under a CTC head of another library, whose blank is any of its ids.

    Args:
        vocabulary: token by id, one a row of the head.
        content: of ``tokenizer.json``.
        blank: id of the blank.
    """

    blank: int = 0
    kind: ClassVar[str] = "huggingface_ctc"

    @property
    def blank_id(self) -> int:
        """Id of the blank."""
        return self.blank

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """What each token adds to a text; nothing for the blank."""
        found = list(super().pieces)
        found[self.blank] = ""
        return tuple(found)

    @cached_property
    def characters(self) -> frozenset[str]:  # type: ignore[override]
        """All that stands in a piece."""
        return frozenset("".join(self.pieces)) | {" "}

    def decode(self, ids: Iterable[int]) -> str:
        """Read label ids as text; the pieces are what the file's own decoder gives."""
        return Tokenizer.decode(self, ids)


def load_head_tokenizer(folder: Path, head_size: int, blank_id: int | None) -> HeadTokenizer | None:
    """Take the ``tokenizer.json`` of a folder for its CTC head; None where there is none.

    Args:
        folder: of the model.
        head_size: rows of the head.
        blank_id: of its configuration; None for ``<pad>``.

    Raises:
        ModelError: it is none of the package's, or no token is the blank.
    """
    if not (folder / TOKENIZER_FILE).is_file():
        return None
    found = load_huggingface_tokenizer(folder)
    named = [*found.vocabulary, *(name_unused(index) for index in range(len(found), head_size))][:head_size]
    blank = found.blank_id if blank_id is None else blank_id
    if not 0 <= blank < head_size:
        raise ModelError(f"{folder}: its blank has the id {blank}, and the head {head_size} tokens")
    return HeadTokenizer(tuple(named), found.content, blank)
