"""Characters as a vocabulary, as Hugging Face's ``Wav2Vec2CTCTokenizer`` has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from bigfoot.text.cleanup import write_final_sigma
from bigfoot.text.json_fields import quote
from bigfoot.text.tokenizer import Tokenizer, name_unused

SENTENCE_TOKENS = ("<s>", "</s>")


@dataclass(frozen=True)
class CharTokenizer(Tokenizer):
    """A vocabulary of characters under CTC.

    Args:
        vocabulary: token by id, every token once.
        blank_token: CTC's blank, Hugging Face's ``pad_token``; must be in the vocabulary.
        word_delimiter: stands for the space between words; empty where no token does.
        unknown_token: stands for characters outside; never written into labels, for a model would learn to emit it.
        silent: further special tokens; like the unknown token and ``<...>`` they are written where a model emits
            them, as transformers does, and never become labels.
        lower_case: the vocabulary is in capitals and texts are in small letters (``do_lower_case``).
        space: what the word delimiter is in a text (``replace_word_delimiter_char``).
        cleans_up: see ``Tokenizer``.

    Raises:
        ValueError: a token stands twice, or the blank is missing.

    Examples:
        >>> tokenizer = CharTokenizer(("<pad>", "|", "A", "B"))
        >>> tokenizer.encode("AB A")
        [2, 3, 1, 2]
        >>> tokenizer.decode_ctc([2, 2, 0, 2, 1, 3])
        'AA B'
    """

    vocabulary: tuple[str, ...]
    blank_token: str = "<pad>"
    word_delimiter: str = "|"
    unknown_token: str = "<unk>"
    silent: tuple[str, ...] = ()
    lower_case: bool = False
    space: str = " "
    cleans_up: bool = False
    kind: ClassVar[str] = "characters"

    def __post_init__(self) -> None:
        """Refuse a vocabulary with which decoding would be ambiguous."""
        check_vocabulary(self.vocabulary, self.blank_token)

    @property
    def is_plain(self) -> bool:
        """Whether tokens are written as they are: no other case, no other space."""
        return not self.lower_case and self.space == " "

    @cached_property
    def final_sigma(self) -> bool:  # type: ignore[override]
        """See ``Tokenizer``."""
        letters = "".join(self.vocabulary)
        return self.lower_case and "\u03a3" in letters and not {"\u03c3", "\u03c2"} & set(letters)

    @cached_property
    def unknown_id(self) -> int | None:
        """Id of the unknown token; None where the vocabulary has none."""
        return self._ids.get(self.unknown_token)

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """What each id adds to a decoded text; nothing for the blank and ids without a token."""
        return tuple(self._piece(index, token) for index, token in enumerate(self.vocabulary))

    def _piece(self, index: int, token: str) -> str:
        if token == self.blank_token or token == name_unused(index):
            return ""
        if token == self.word_delimiter:
            return self.space
        return token.lower() if self.lower_case else token

    @cached_property
    def blank_id(self) -> int:
        """Id of CTC's blank."""
        return self._ids[self.blank_token]

    def drop_specials(self, text: str) -> str:
        """See ``Tokenizer.drop_specials``.

        Examples:
            >>> CharTokenizer(("<pad>", "<unk>", "|", "A")).drop_specials("A<unk>A <unk>")
            'AA'
        """
        special = (self.unknown_token, *self.silent)
        for token, piece in zip(self.vocabulary, self.pieces, strict=True):
            if token != self.word_delimiter and piece and stands_for_nothing(token, special):
                text = text.replace(piece, "")
        return " ".join(text.split())

    @cached_property
    def _ids_by_character(self) -> dict[str, int]:
        """The label of each character that a text may hold."""
        special = (self.unknown_token, *self.silent)
        pieces = [*zip(self.vocabulary, self.pieces, strict=True)]
        ids = {
            piece: index
            for index, (token, piece) in reversed([*enumerate(pieces)])
            if len(piece) == 1 and token not in special
        }
        if self.lower_case:
            # The capital is the one that training with transformers uses.
            ids |= {piece: index for piece, index in ((p, self._ids.get(p.upper())) for p in ids) if index is not None}
        if self.final_sigma and "\u03c3" in ids:
            ids["\u03c2"] = ids["\u03c3"]
        if self.word_delimiter in self._ids:
            ids[" "] = self._ids[self.word_delimiter]
        return ids

    @cached_property
    def characters(self) -> frozenset[str]:
        """What a text may hold: single characters, with the space where there is a word delimiter."""
        return frozenset(self._ids_by_character)

    def find_in(self, other: Tokenizer) -> list[int]:
        """Find the ids of this vocabulary's tokens in another one.

        Args:
            other: with the same tokens and perhaps more, in any order; blank, delimiter and unknown token may have
                other names there.

        Returns:
            Its id for each of ours.

        Raises:
            ValueError: it lacks a token.

        Examples:
            >>> CharTokenizer(("<pad>", "|", "A")).find_in(CharTokenizer(("A", "-", "|"), blank_token="-"))
            [1, 2, 0]
        """
        if not isinstance(other, CharTokenizer):
            return super().find_in(other)
        names = {self.blank_token: other.blank_token, self.word_delimiter: other.word_delimiter,
                 self.unknown_token: other.unknown_token}  # fmt: skip
        wanted = [names.get(token, token) for token in self.vocabulary]
        if missing := sorted(set(wanted) - set(other.vocabulary)):
            raise ValueError(f"the other vocabulary has no {', '.join(map(repr, missing))}")
        return [other._ids[token] for token in wanted]

    def keep_characters(self, characters: Iterable[str]) -> CharTokenizer:
        """Return the vocabulary of fewer characters; the blank, the space and the unknown token stay.

        Args:
            characters: those that are to stay; others than the vocabulary's are passed over.

        Examples:
            >>> CharTokenizer(("<pad>", "<s>", "|", "A", "B", "C")).keep_characters("CAB?C A").vocabulary
            ('<pad>', '|', 'A', 'B', 'C')
        """
        kept = {self._ids_by_character[each] for each in characters if each in self._ids_by_character}
        named = (self.blank_token, self.word_delimiter, self.unknown_token)
        kept |= {self._ids[token] for token in named if token in self._ids}
        return replace(self, vocabulary=tuple(self.vocabulary[index] for index in sorted(kept)), silent=())

    def unknown_characters(self, text: str) -> set[str]:
        """Return the characters of a text that are out of vocabulary.

        Examples:
            >>> sorted(CharTokenizer(("<pad>", "|", "A")).unknown_characters("A1 A!"))
            ['!', '1']
        """
        return set(text) - self.characters

    def encode(self, text: str) -> list[int]:
        """Tokenize a text.

        Args:
            text: characters of the vocabulary, spaces between words.

        Returns:
            One id a character.

        Raises:
            ValueError: with the characters outside the vocabulary.
        """
        if unknown := self.unknown_characters(text):
            raise ValueError(f"characters outside the vocabulary: {' '.join(map(repr, sorted(unknown)))} in {text!r}")
        return [self._ids_by_character[character] for character in text]

    def to_judged(self, text: str) -> str:
        """Return a transcript with what the model writes between words."""
        return (write_final_sigma(text) if self.final_sigma else text).replace(" ", self.space)

    def fits(self, head_size: int) -> bool:
        """Return whether a head can be this vocabulary's; it may have rows that no vocabulary names, never trained."""
        return len(self) <= head_size


def check_vocabulary(vocabulary: tuple[str, ...], blank_token: str) -> None:
    """Refuse a vocabulary with which decoding would be ambiguous.

    Args:
        vocabulary: token by id.
        blank_token: CTC's blank.

    Raises:
        ValueError: a token stands twice, or the blank is missing.
    """
    if len(set(vocabulary)) != len(vocabulary):
        twice = sorted(token for token, count in Counter(vocabulary).items() if count > 1)
        raise ValueError(f"the vocabulary holds tokens twice: {quote(twice)}")
    if blank_token not in vocabulary:
        raise ValueError(f"the blank {quote(blank_token)} is not among the vocabulary's {len(vocabulary)} tokens")


def stands_for_nothing(token: str, silent: tuple[str, ...]) -> bool:
    """Return whether a token stands for no text: one of those named, or ``<...>``.

    Examples:
        >>> stands_for_nothing("<s>", ()), stands_for_nothing("[PAD]", ("[PAD]",)), stands_for_nothing("[PAD]", ())
        (True, True, False)
    """
    return token in silent or (len(token) > 2 and token[0] == "<" and token[-1] == ">")


def build_char_tokenizer(texts: Iterable[str]) -> CharTokenizer:
    """Build the vocabulary of a set of transcripts.

    Args:
        texts: normalized transcripts.

    Returns:
        ``<pad>`` as 0, then ``<s>``, ``</s>``, ``<unk>``, ``|`` and the characters in order of code point.

    Examples:
        >>> build_char_tokenizer(["BA", "A C"]).vocabulary
        ('<pad>', '<s>', '</s>', '<unk>', '|', 'A', 'B', 'C')
    """
    characters = {character for text in texts for character in text} - {" ", "|"}
    return CharTokenizer(("<pad>", *SENTENCE_TOKENS, "<unk>", "|", *sorted(characters)))
