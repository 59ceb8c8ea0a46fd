"""Words of a transcript with their times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bigfoot.types import Seconds


@dataclass(frozen=True)
class Word:
    """A word with its times.

    In scripts without spaces (Han, kana, Thai, Lao, Burmese, Khmer) a word is a single character with its marks.

    Args:
        text: without spaces.
        start: from the start of the recording.
        end: likewise, never before ``start``.
        joined: no space stands between it and the word before.
    """

    text: str
    start: Seconds
    end: Seconds
    joined: bool = False


def join_words(words: Iterable[Word]) -> str:
    """Join words to a text, with spaces where there are any.

    Examples:
        >>> join_words([Word("ONE", 0.0, 0.4), Word("TWO", 0.5, 0.9), Word("S", 0.9, 1.0, joined=True)])
        'ONE TWOS'
    """
    parts: list[str] = []
    for word in words:
        parts += [word.text] if word.joined or not parts else [" ", word.text]
    return "".join(parts)
