"""What was heard: text, words with their times, and the segments of a subtitle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bigfoot.types import Seconds

PAUSE: Seconds = 0.8
"""Between words, from which on a new segment begins."""
LONGEST_SEGMENT: Seconds = 7.0
MOST_CHARACTERS = 84
"""Of a segment: two lines of a subtitle."""


@dataclass(frozen=True)
class Word:
    """A word in its place.

    Args:
        text: without spaces.
        start: from the beginning of the recording.
        end: likewise, never before ``start``.
    """

    text: str
    start: Seconds
    end: Seconds


@dataclass(frozen=True)
class Segment:
    """Words that belong together on a screen.

    Args:
        words: 1 or more, in order.
    """

    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        """The words with spaces between."""
        return " ".join(word.text for word in self.words)

    @property
    def start(self) -> Seconds:
        """When the first word begins."""
        return self.words[0].start

    @property
    def end(self) -> Seconds:
        """When the last word ends."""
        return self.words[-1].end


@dataclass(frozen=True)
class Transcript:
    """What was heard in a recording.

    Args:
        source: its file, or the number of its array.
        seconds: how long it is.
        words: in order.
        error: why it could not be heard at all, or None; then there are no words.
    """

    source: str
    seconds: Seconds = 0.0
    words: tuple[Word, ...] = ()
    error: str | None = None

    @property
    def text(self) -> str:
        """The words with spaces between."""
        return " ".join(word.text for word in self.words)

    @property
    def segments(self) -> list[Segment]:
        """The words in pieces of a subtitle's length."""
        return split_segments(self.words)


def split_segments(words: Sequence[Word]) -> list[Segment]:
    """Put words together until there is a pause, or until they fill a screen.

    Args:
        words: in order.

    Returns:
        Segments that hold every word once.

    Examples:
        >>> words = [Word("ONE", 0.0, 0.4), Word("TWO", 0.5, 0.9), Word("SIX", 3.0, 3.4)]
        >>> [segment.text for segment in split_segments(words)]
        ['ONE TWO', 'SIX']
    """
    segments: list[Segment] = []
    held: list[Word] = []
    for word in words:
        if held and _is_full(held, word):
            segments.append(Segment(tuple(held)))
            held = []
        held.append(word)
    return [*segments, Segment(tuple(held))] if held else segments


def _is_full(held: Sequence[Word], word: Word) -> bool:
    characters = sum(len(item.text) + 1 for item in held) + len(word.text)
    paused = word.start - held[-1].end >= PAUSE
    return paused or word.end - held[0].start > LONGEST_SEGMENT or characters > MOST_CHARACTERS
