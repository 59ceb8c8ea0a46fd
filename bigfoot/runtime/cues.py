"""Cues of a subtitle: lines of text and when they are on the screen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bigfoot.runtime.breaks import may_break
from bigfoot.runtime.segments import (
    LINE_COLUMNS,
    LONGEST_SEGMENT,
    SHORTEST_SEGMENT,
    Ruler,
    Segment,
)
from bigfoot.runtime.words import Word, join_words
from bigfoot.text.scripts import count_columns, split_clusters

_BAD_BREAK = 2 * LINE_COLUMNS


@dataclass(frozen=True)
class Cue:
    """What is on the screen at once.

    Args:
        lines: 1 or more, up to ``NUM_LINES``.
        start: in milliseconds.
        end: in milliseconds, after ``start``.
    """

    lines: tuple[str, ...]
    start: int
    end: int


def make_cues(segments: Sequence[Segment]) -> list[Cue]:
    """Lay out segments as cues.

    A cue ends with its last word, or stays for ``SHORTEST_SEGMENT`` where the next one comes later.

    Args:
        segments: in order.

    Returns:
        Cues in order, none over the next; one for each segment, more for a word that no screen can hold.

    Examples:
        >>> make_cues([Segment((Word("ONE", 0.5, 0.9),)), Segment((Word("TWO", 3.0, 4.5),))])
        [Cue(lines=('ONE',), start=500, end=1500), Cue(lines=('TWO',), start=3000, end=4500)]
    """
    screens = [screen for segment in segments for screen in _divide(segment)]
    cues: list[Cue] = []
    for index, words in enumerate(screens):
        start, end = words[0].start, max(words[-1].end, words[0].start + SHORTEST_SEGMENT)
        end = min(end, start + LONGEST_SEGMENT)
        if index + 1 < len(screens):
            end = min(end, screens[index + 1][0].start)
        # Times may be one where they were made by hand: every cue is on the screen for a moment.
        begin = max(round(start * 1000), cues[-1].end if cues else 0)
        cues.append(Cue(tuple(break_lines(words)), begin, max(round(end * 1000), begin + 1)))
    return cues


def _divide(segment: Segment) -> Iterator[list[Word]]:
    """Yield the words of a segment in parts that a screen can hold: one, but for a word that is too long."""
    words = [part for word in segment.words for part in _divide_word(word)]
    ruler, first = Ruler(words), 0
    if ruler.fits(0, len(words)):
        yield from [words] if words else []
        return
    while first < len(words):
        last = next(last for last in range(len(words), first, -1) if ruler.fits(first, last))
        yield words[first:last]
        first = last


def _divide_word(word: Word) -> Iterator[Word]:
    """Yield a word in parts that a line can hold, with their share of its time."""
    # A line break within a word would end the cue.
    word = replace(word, text=" ".join(word.text.split()))
    columns = count_columns(word.text)
    if columns <= LINE_COLUMNS:
        yield from [word] if word.text else []
        return
    per_column = (word.end - word.start) / columns
    text, start, joined = "", word.start, word.joined
    for cluster in split_clusters(word.text):
        if text and count_columns(text + cluster) > LINE_COLUMNS:
            end = min(start + per_column * count_columns(text), word.end)
            yield Word(text, start, end, joined)
            text, start, joined = "", end, True
        text += cluster
    yield Word(text, start, word.end, joined)


def break_lines(words: Sequence[Word]) -> list[str]:
    """Break words into lines, evenly, and where a reader expects it.

    Args:
        words: that fit on a screen.

    Examples:
        >>> break_lines([Word(f"WORD{number}", 0, 1) for number in range(8)])
        ['WORD0 WORD1 WORD2 WORD3', 'WORD4 WORD5 WORD6 WORD7']
    """
    ruler, count = Ruler(words), len(words)
    if ruler.columns(0, count) <= LINE_COLUMNS:
        return [join_words(words)]

    def cost(place: int) -> int:
        return max(ruler.columns(0, place), ruler.columns(place, count)) + _BAD_BREAK * (
            not may_break(words[place - 1], words[place])
        )

    possible = [n for n in range(1, count) if max(ruler.columns(0, n), ruler.columns(n, count)) <= LINE_COLUMNS]
    place = min(possible, key=cost)
    return [join_words(words[:place]), join_words([replace(words[place], joined=False), *words[place + 1 :]])]
