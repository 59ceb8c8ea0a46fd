"""Transcripts: text, words with their times, and the segments of a subtitle."""

from __future__ import annotations

from dataclasses import dataclass

from bigfoot.runtime.segments import Segment, split_segments
from bigfoot.runtime.words import Word, join_words
from bigfoot.types import Seconds

__all__ = ["Segment", "Transcript", "Word", "split_segments"]


@dataclass(frozen=True)
class Transcript:
    """The transcript of a recording.

    Args:
        source: its file, or the number of its array.
        seconds: how long it is.
        words: in order.
        error: why it could not be transcribed, or None; then there are no words.
    """

    source: str
    seconds: Seconds = 0.0
    words: tuple[Word, ...] = ()
    error: str | None = None

    @property
    def text(self) -> str:
        """The words, with spaces where there are any."""
        return join_words(self.words)

    @property
    def segments(self) -> list[Segment]:
        """The words in pieces of a subtitle's length."""
        return split_segments(self.words)
