"""What every tokenizer can do: text to label ids, ids of frames to text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from typing import Any, ClassVar, Literal

from bigfoot.text.cleanup import clean_up, write_final_sigma
from bigfoot.text.words import PlacedText, RunLimits, drop_cleaned_spaces, group_words

SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
"""First tokens of the vocabularies that bigfoot builds; the first is CTC's blank."""


def is_special(token: str) -> bool:
    """Return whether a token stands for no text: ``<pad>``, ``<s>``, ``[UNK]``.

    Examples:
        >>> is_special("<s>"), is_special("[PAD]"), is_special("<"), is_special("A")
        (True, True, False, False)
    """
    return len(token) > 2 and (token[0], token[-1]) in (("<", ">"), ("[", "]"))


class Tokenizer(ABC):
    """A vocabulary under CTC.

    ``vocabulary`` has the token of every id. Tokenizers are frozen dataclasses, equal where they do the same.
    """

    kind: ClassVar[str]
    """Its name in reports and saved folders."""
    unit: ClassVar[Literal["word", "phoneme"]] = "word"
    """What stands between the spaces of a decoded text, and is counted as right or wrong."""
    vocabulary: tuple[str, ...]

    cleans_up: bool = False
    """Whether the space before ``.``, ``'s`` and the like is dropped (``clean_up_tokenization_spaces``)."""
    final_sigma: bool = False
    """Whether the vocabulary has Greek's capital sigma for both small ones; the place in the word decides which."""

    def __len__(self) -> int:
        """Number of tokens, V of the logits."""
        return len(self.vocabulary)

    @property
    @abstractmethod
    def blank_id(self) -> int:
        """Id of CTC's blank."""

    @property
    def unknown_id(self) -> int | None:
        """Id of the token that ids without a token are read as; None where they add nothing."""
        return None

    @property
    @abstractmethod
    def pieces(self) -> tuple[str, ...]:
        """What each id adds to a decoded text, spaces in front of or between words among it; nothing for specials."""

    @property
    @abstractmethod
    def characters(self) -> frozenset[str] | None:
        """What a text may hold; None where that is unknown, or anything goes."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Tokenize a text to label ids.

        Args:
            text: normalized, words with spaces between.

        Returns:
            Ids, the blank not among them.

        Raises:
            ValueError: with what lies outside the vocabulary.
            MissingExtraError: the package that does it is not installed.
        """

    def unknown_characters(self, text: str) -> set[str]:
        """Return the characters of a text that are out of vocabulary."""
        return set() if self.characters is None else set(text) - self.characters

    def to_judged(self, text: str) -> str:
        """Return a transcript as hypotheses are compared with it; it is other symbols where ``unit`` is no word."""
        return text

    def to_pieces(self, text: str) -> str:
        """Return a text as ``pieces`` add up to it, before the last sigma of its words is written."""
        return text.replace("\u03c2", "\u03c3") if self.final_sigma else text

    def drop_specials(self, text: str) -> str:
        """Drop the special tokens that decoding writes, so that a hypothesis can be tokenized.

        Args:
            text: decoded.
        """
        return text

    def describe(self) -> str:
        """Kind and size in a few words."""
        return f"{self.kind}, {len(self)} tokens"

    def decode(self, ids: Iterable[int]) -> str:
        """Read label ids as text.

        Args:
            ids: without blanks between; of those beyond the vocabulary see ``unknown_id``.

        Returns:
            Words with single spaces between.
        """
        size = len(self.pieces)
        written = "".join(self.pieces[index] for index in self._settle(ids) if 0 <= index < size)
        text = " ".join((write_final_sigma(written) if self.final_sigma else written).split())
        return clean_up(text) if self.cleans_up else text

    def _settle(self, ids: Iterable[int]) -> Iterable[int]:
        """Ids that have a token: those without one are the unknown token's."""
        if (unknown := self.unknown_id) is None:
            return ids
        return (unknown if index >= len(self) or index in self._unnamed else index for index in ids)

    @cached_property
    def _unnamed(self) -> frozenset[int]:
        return frozenset(index for index, token in enumerate(self.vocabulary) if token == name_unused(index))

    def decode_ctc(self, frame_ids: Sequence[int]) -> str:
        """Read the best id of every frame as text: repeats are merged, then blanks and specials dropped.

        Args:
            frame_ids: (T,) ids; of those beyond the vocabulary see ``unknown_id``.

        Returns:
            Words with single spaces between.
        """
        return self.decode(int(index) for index, _ in groupby(self._settle(frame_ids)) if index != self.blank_id)

    def place_characters(self, frame_ids: Sequence[int]) -> Iterator[PlacedText]:
        """Read the best id of every frame as characters with their places, spaces among them.

        Args:
            frame_ids: (T,) ids; of those beyond the vocabulary see ``unknown_id``.

        Yields:
            Characters in order; those of one token share its frames.
        """
        pieces, frame = self.pieces, 0
        for index, run in groupby(self._settle(frame_ids)):
            first, frame = frame, frame + sum(1 for _ in run)
            for character in pieces[index] if 0 <= index < len(pieces) else "":
                yield PlacedText(character, first, frame)

    def decode_words(self, frame_ids: Sequence[int], limits: RunLimits | None = None) -> list[PlacedText]:
        """Read the best id of every frame as words with the frames of their tokens; ``decode_ctc`` is their text.

        Args:
            frame_ids: (T,) ids; those beyond the vocabulary add nothing.
            limits: of a word; none by default.

        Returns:
            The words in order, as ``group_words`` makes them: a character each in scripts without spaces. CTC is free
            to output a token anywhere near its sound: ``bigfoot.runtime.timing`` estimates where the sound is.

        Examples:
            >>> from bigfoot.text.tokenizers import CharTokenizer
            >>> tokenizer = CharTokenizer(("<pad>", "|", "A", "B"))
            >>> [(w.text, w.start_frame, w.end_frame) for w in tokenizer.decode_words([0, 2, 0, 2, 2, 1, 3, 0])]
            [('AA', 1, 5), ('B', 6, 7)]
        """
        return self.group_characters(self.place_characters(frame_ids), limits)

    def group_characters(self, characters: Iterable[PlacedText], limits: RunLimits | None = None) -> list[PlacedText]:
        """Group placed characters into the words of the decoded text.

        Args:
            characters: in order, spaces among them.
            limits: see ``decode_words``.
        """
        if self.final_sigma:
            characters = [*characters]
            text = write_final_sigma("".join(character.text for character in characters))
            characters = [replace(old, text=new) for old, new in zip(characters, text, strict=True)]
        return group_words(drop_cleaned_spaces(characters) if self.cleans_up else characters, limits)

    def fits(self, head_size: int) -> bool:
        """Return whether a head with so many rows can be this vocabulary's."""
        return len(self) == head_size

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: index for index, token in enumerate(self.vocabulary)}

    def find_in(self, other: Tokenizer) -> list[int]:
        """Find the ids of this vocabulary's tokens in another one.

        Args:
            other: with the same tokens and perhaps more, in any order.

        Returns:
            Its id for each of ours.

        Raises:
            ValueError: it lacks a token.
        """
        if missing := sorted(set(self.vocabulary) - set(other.vocabulary)):
            raise ValueError(f"the other vocabulary has no {', '.join(map(repr, missing[:10]))}")
        return [other._ids[token] for token in self.vocabulary]

    def find_first_letters(self, other: Tokenizer) -> list[int | None]:
        """Find for each token its first letter in another vocabulary; word boundaries do not count.

        Args:
            other: with single letters among its tokens.

        Returns:
            Its id for each of ours, the blank for the blank, None where it has no such letter.

        Examples:
            >>> from bigfoot.text.pieces import PieceTokenizer
            >>> letters = PieceTokenizer(("<pad>", "|", "O", "N"), ("", " ", "O", "N"), 0)
            >>> PieceTokenizer(("<pad>", "_", "_ON", "X"), ("", " ", " ON", "X"), 0).find_first_letters(letters)
            [0, 1, 2, None]
        """
        theirs = {piece: index for index, piece in enumerate(other.pieces) if piece}
        found = [theirs.get(piece.strip()[:1] or piece[:1]) for piece in self.pieces]
        found[self.blank_id] = other.blank_id
        return found

    def to_files(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Return what a model folder must hold: settings as JSON, and further files by name."""
        raise NotImplementedError(f"{self.kind} is saved in files of its own")


def name_unused(index: int) -> str:
    """Name an id without a token, so that the ids behind it stay in place.

    Examples:
        >>> name_unused(7)
        '<unused7>'
    """
    return f"<unused{index}>"


def count_unknown(tokenizer: Tokenizer, texts: Iterable[str]) -> Counter[str]:
    """Count the characters of texts that are out of vocabulary.

    Args:
        tokenizer: the vocabulary.
        texts: normalized transcripts.

    Returns:
        Occurrences by character, the most frequent first where it is printed with ``most_common``.

    Examples:
        >>> from bigfoot.text.tokenizers import CharTokenizer
        >>> count_unknown(CharTokenizer(("<pad>", "|", "A")), ["A1 A!", "1"]).most_common()
        [('1', 2), ('!', 1)]
    """
    counts: Counter[str] = Counter()
    for text in texts:
        unknown = tokenizer.unknown_characters(text)
        counts.update(character for character in text if character in unknown)
    return counts


def describe_unknown(counts: Counter[str], most: int = 10) -> str:
    """Describe which characters were unknown and how often.

    Examples:
        >>> describe_unknown(Counter("!1!"))
        "'!' 2 times, '1' once"
    """
    described = [f"{character!r} {'once' if n == 1 else f'{n} times'}" for character, n in counts.most_common(most)]
    rest = len(counts) - len(described)
    return ", ".join(described) + (f", and {rest} others" if rest else "")
