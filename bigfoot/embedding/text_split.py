"""A long recording's text, piece by piece, by where CTC hears its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from bigfoot.decoding.alignment import AlignedToken, align_beginning, align_tokens, count_needed_frames
from bigfoot.decoding.hypotheses import LogProbs
from bigfoot.text.normalize import drop_silent_marks, normalize_text
from bigfoot.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class SplitText:
    """The text of a piece.

    Args:
        text: its words as the whole text has them, with single spaces between.
        confidence: geometric mean of the probabilities of their tokens where they were found, 0 to 1; 1 without words.
    """

    text: str
    confidence: float


class TextSplitter:
    """Gives each piece of a recording its words, in order, while the pieces are heard.

    Each piece is aligned together with the one behind it, and with as much text as both can hold, so that an hour
    takes the memory of a minute; words belong where their middle lies. A model that does not know the language loses
    its way, which shows in the confidence.

    Args:
        text: of the whole recording. What the vocabulary cannot spell is not aligned, and goes with the word before.
        tokenizer: of the CTC head.

    Raises:
        ValueError: the vocabulary does not keep words apart, or can spell nothing of the text.

    Examples:
        >>> from bigfoot.text.tokenizers import CharTokenizer
        >>> splitter = TextSplitter("a, b", CharTokenizer(("<pad>", "|", "A", "B")))
        >>> heard = np.log(np.full((8, 4), 0.02) + 0.92 * np.eye(4)[[0, 2, 0, 0, 1, 0, 3, 0]])
        >>> splitter.take(heard[:5], heard[5:]).text, splitter.take(heard[5:], None).text
        ('a,', 'b')
    """

    def __init__(self, text: str, tokenizer: Tokenizer) -> None:
        if tokenizer.unit != "word":
            raise ValueError(f"its vocabulary writes {tokenizer.unit}s, not words")
        self._blank = tokenizer.blank_id
        self._words, spelled = _pair_with_spelling(text, tokenizer)
        self._labels = _group_by_word(tokenizer.encode(" ".join(spelled)), tokenizer) if spelled else []
        if len(self._labels) != len(self._words) or (text and not self._words):
            raise ValueError("its vocabulary cannot spell the text word by word")

    @property
    def words_left(self) -> int:
        """Words that no piece has taken yet."""
        return len(self._words)

    def skip(self, text: str) -> None:
        """Leave out what earlier pieces have taken.

        Args:
            text: all of it, as ``take`` gave it, with spaces between.
        """
        wanted = len(text.split())
        counts = [0, *accumulate(len(word.split()) for word in self._words)]
        self._drop(counts.index(wanted))

    def _drop(self, count: int) -> None:
        del self._words[:count], self._labels[:count]

    def take(self, here: LogProbs, ahead: LogProbs | None) -> SplitText:
        """Give the words that were said in a piece.

        Args:
            here: (T, V) log posteriors of the piece.
            ahead: of the next piece; None where this is the last, which has all that is left.

        Returns:
            See ``SplitText``.

        Raises:
            ValueError: more text is left than the last piece has frames for.
        """
        labels, word_of = self._flatten(None if ahead is None else len(here) + len(ahead))
        if ahead is None:
            tokens = align_tokens(here, labels, self._blank)
            count = len(self._words)
        else:
            tokens = align_beginning(np.concatenate([here, ahead]), labels, self._blank)
            count = _count_before(len(here), tokens, word_of)
        said = " ".join(self._words[:count])
        self._drop(count)
        logs = [token.log_prob for token, word in zip(tokens, word_of, strict=False) if word < count]
        return SplitText(said, float(np.exp(np.mean(logs))) if logs else 1.0)

    def _flatten(self, frames: int | None) -> tuple[list[int], list[int]]:
        """Labels that are left, as many words as frames can hold, and the number of each label's word."""
        labels: list[int] = []
        word_of: list[int] = []
        needed = 0
        for number, word in enumerate(self._labels):
            # The space before the first word was said, if at all, before the cut.
            added = word[1] if number == 0 else [*word[0], *word[1]]
            needed += count_needed_frames([*labels[-1:], *added]) - len(labels[-1:])
            if frames is not None and needed > frames:
                break
            labels += added
            word_of += [number] * len(added)
        return labels, word_of


def _count_before(frames: int, tokens: Sequence[AlignedToken], word_of: Sequence[int]) -> int:
    """Words whose middle lies before a frame."""
    middles: dict[int, tuple[int, int]] = {}
    for token, word in zip(tokens, word_of, strict=False):
        begin, _ = middles.get(word, (token.begin, 0))
        middles[word] = begin, token.end
    return sum(begin + end <= 2 * frames for begin, end in middles.values())


def _pair_with_spelling(text: str, tokenizer: Tokenizer) -> tuple[list[str], list[str]]:
    """Words of a text and what of each can be spelled; what cannot be at all is joined to the word before."""
    words: list[str] = []
    spelled: list[str] = []
    before: list[str] = []
    for word in text.split():
        plain = drop_silent_marks(normalize_text(word, tokenizer.characters), tokenizer.characters)
        unknown = tokenizer.unknown_characters(plain) | {" "}
        letters = "".join(character for character in plain if character not in unknown)
        if letters:
            words.append(" ".join([*before, word]))
            spelled.append(letters)
            before = []
        elif words:
            words[-1] += f" {word}"
        else:
            before.append(word)
    return words, spelled


def _group_by_word(labels: Sequence[int], tokenizer: Tokenizer) -> list[tuple[list[int], list[int]]]:
    """Labels of each word: those that only part it from the word before, and its own."""
    words: list[tuple[list[int], list[int]]] = [([], [])]
    for label in labels:
        piece = tokenizer.pieces[label]
        if piece[:1] == " " and words[-1][1]:
            words.append(([], []))
        words[-1][1 if piece.strip() else 0].append(label)
    return [word for word in words if word[1]]
