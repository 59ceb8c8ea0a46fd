"""Split a long recording's transcript over its pieces, by CTC alignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from bigfoot.decoding.alignment import AlignedToken, align_prefix, align_tokens, count_needed_frames
from bigfoot.decoding.hypotheses import LogProbs
from bigfoot.text.normalize import drop_silent_marks, normalize_text
from bigfoot.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class SplitText:
    """Text of a piece.

    Args:
        text: its words as in the whole text, separated by single spaces.
        confidence: geometric mean of the probabilities of their aligned tokens, 0 to 1; 1 without words.
    """

    text: str
    confidence: float


class TextSplitter:
    """Assigns its words to each piece of a recording, in order, while the pieces are computed.

    Each piece is aligned together with the next one, and with as much text as both can hold, so that an hour takes the
    memory of a minute. A word belongs to the piece that holds its middle. A model of another language misaligns, which
    shows in the confidence.

    Args:
        text: of the whole recording. An out-of-vocabulary word is not aligned, and goes with the previous word.
        tokenizer: of the CTC head.

    Raises:
        ValueError: the vocabulary does not separate words, or can write nothing of the text.

    Examples:
        >>> from bigfoot.text.tokenizers import CharTokenizer
        >>> splitter = TextSplitter("a, b", CharTokenizer(("<pad>", "|", "A", "B")))
        >>> log_probs = np.log(np.full((8, 4), 0.02) + 0.92 * np.eye(4)[[0, 2, 0, 0, 1, 0, 3, 0]])
        >>> splitter.take(log_probs[:5], log_probs[5:]).text, splitter.take(log_probs[5:], None).text
        ('a,', 'b')
    """

    def __init__(self, text: str, tokenizer: Tokenizer) -> None:
        if tokenizer.unit != "word":
            raise ValueError(f"its vocabulary writes {tokenizer.unit}s, not words")
        self._blank = tokenizer.blank_id
        self._words, written = _pair_with_written(text, tokenizer)
        self._labels = _group_by_word(tokenizer.encode(" ".join(written)), tokenizer) if written else []
        if len(self._labels) != len(self._words) or (text and not self._words):
            raise ValueError("its vocabulary cannot write the text word by word")

    @property
    def words_left(self) -> int:
        """Number of words that are not assigned yet."""
        return len(self._words)

    def skip(self, text: str) -> None:
        """Drop the words of earlier pieces.

        Args:
            text: all of them, as returned by ``take``, separated by spaces.
        """
        wanted = len(text.split())
        counts = [0, *accumulate(len(word.split()) for word in self._words)]
        self._drop(counts.index(wanted))

    def _drop(self, count: int) -> None:
        del self._words[:count], self._labels[:count]

    def take(self, here: LogProbs, ahead: LogProbs | None) -> SplitText:
        """Return the words of the next piece.

        Args:
            here: (T, V) log posteriors of the piece.
            ahead: of the piece after it; None for the last piece, which gets all remaining words.

        Returns:
            See ``SplitText``.

        Raises:
            ValueError: the remaining text needs more frames than the last piece has.
        """
        labels, word_of = self._flatten(None if ahead is None else len(here) + len(ahead))
        if ahead is None:
            tokens = align_tokens(here, labels, self._blank)
            count = len(self._words)
        else:
            tokens = align_prefix(np.concatenate([here, ahead]), labels, self._blank)
            count = _count_before(len(here), tokens, word_of)
        text = " ".join(self._words[:count])
        self._drop(count)
        logs = [token.log_prob for token, word in zip(tokens, word_of, strict=False) if word < count]
        return SplitText(text, float(np.exp(np.mean(logs))) if logs else 1.0)

    def _flatten(self, frames: int | None) -> tuple[list[int], list[int]]:
        """Return the remaining labels, as many words as fit the frames, and the index of each label's word."""
        labels: list[int] = []
        word_of: list[int] = []
        needed = 0
        for number, word in enumerate(self._labels):
            # The space before the first word, if any, belongs to the audio before the cut.
            added = word[1] if number == 0 else [*word[0], *word[1]]
            needed += count_needed_frames([*labels[-1:], *added]) - len(labels[-1:])
            if frames is not None and needed > frames:
                break
            labels += added
            word_of += [number] * len(added)
        return labels, word_of


def _count_before(frames: int, tokens: Sequence[AlignedToken], word_of: Sequence[int]) -> int:
    """Count the words whose middle is before a frame."""
    middles: dict[int, tuple[int, int]] = {}
    for token, word in zip(tokens, word_of, strict=False):
        begin, _ = middles.get(word, (token.begin, 0))
        middles[word] = begin, token.end
    return sum(begin + end <= 2 * frames for begin, end in middles.values())


def _pair_with_written(text: str, tokenizer: Tokenizer) -> tuple[list[str], list[str]]:
    """Return a text's words and the characters of each that the vocabulary has; a word with none joins the previous."""
    words: list[str] = []
    written: list[str] = []
    before: list[str] = []
    for word in text.split():
        plain = drop_silent_marks(normalize_text(word, tokenizer.characters), tokenizer.characters)
        unknown = tokenizer.unknown_characters(plain) | {" "}
        letters = "".join(character for character in plain if character not in unknown)
        if letters:
            words.append(" ".join([*before, word]))
            written.append(letters)
            before = []
        elif words:
            words[-1] += f" {word}"
        else:
            before.append(word)
    return words, written


def _group_by_word(labels: Sequence[int], tokenizer: Tokenizer) -> list[tuple[list[int], list[int]]]:
    """Group labels by word: the separators before it, and its own."""
    words: list[tuple[list[int], list[int]]] = [([], [])]
    for label in labels:
        piece = tokenizer.pieces[label]
        if piece[:1] == " " and words[-1][1]:
            words.append(([], []))
        words[-1][1 if piece.strip() else 0].append(label)
    return [word for word in words if word[1]]
