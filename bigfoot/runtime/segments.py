"""Segments of a subtitle: words that are shown together, broken at pauses and sentences first, then at limits."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from bigfoot.runtime.breaks import ends_clause, ends_sentence, may_break
from bigfoot.runtime.words import Word, join_words
from bigfoot.text.scripts import count_columns
from bigfoot.types import Seconds

PAUSE: Seconds = 0.8
"""Gap between words from which on a new segment starts."""
LONGEST_SEGMENT: Seconds = 7.0
SHORTEST_SEGMENT: Seconds = 1.0
"""What is shown for less cannot be read; where words come too fast for it, the limits of size go first."""
LINE_COLUMNS = 42
"""Widest line; East Asian characters take two columns."""
NUM_LINES = 2

# Costs of the cheapest division into segments. What flashes costs more than any break is worth.
_SEGMENT, _CROWDED, _FLASH = 1.0, 0.3, 4.0
_GAP, _SENTENCE, _CLAUSE, _INSEPARABLE = 1.2, 1.5, 0.5, 5.0

_TOLERANCE: Seconds = 1e-6


@dataclass(frozen=True)
class Segment:
    """Words that belong together on a screen.

    Args:
        words: 1 or more, in order.
    """

    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        """The words, with spaces where there are any."""
        return join_words(self.words)

    @property
    def start(self) -> Seconds:
        """Start of the first word."""
        return self.words[0].start

    @property
    def end(self) -> Seconds:
        """End of the last word."""
        return self.words[-1].end


class Ruler:
    """Columns of stretches of words.

    Args:
        words: in order.

    Examples:
        >>> ruler = Ruler([Word("ONE", 0, 1), Word("TWO", 1, 2)])
        >>> ruler.columns(0, 2), ruler.fits(0, 2)
        (7, True)
    """

    def __init__(self, words: Sequence[Word]) -> None:
        self._spaces = [0 if word.joined else 1 for word in words]
        # A mark without a letter takes no column, but is seen.
        columns = (space + max(1, count_columns(w.text)) for space, w in zip(self._spaces, words, strict=True))
        self._ends = list(accumulate(columns, initial=0))

    def columns(self, first: int, last: int) -> int:
        """Return the columns of words ``first`` to ``last - 1`` in one line."""
        return self._ends[last] - self._ends[first] - self._spaces[first]

    def fill_line(self, first: int) -> int:
        """Return the word behind the last one that fits into a line with ``first``."""
        return bisect_right(self._ends, self._ends[first] + self._spaces[first] + LINE_COLUMNS) - 1

    def fits(self, first: int, last: int) -> bool:
        """Return whether words fit on a screen."""
        for _ in range(NUM_LINES):
            if first < last:
                first = max(first, self.fill_line(first))
        return first >= last


def split_segments(words: Sequence[Word]) -> list[Segment]:
    """Group words into segments.

    Every pause ends one. Between pauses the cheapest division within the limits is taken: few segments, none of them
    too short to be read, with breaks after sentences and clauses and in gaps.

    Args:
        words: in order.

    Returns:
        Segments that hold every word once; all fit ``NUM_LINES`` lines of ``LINE_COLUMNS`` and ``LONGEST_SEGMENT``, but
        for a single word that does not.

    Examples:
        >>> words = [Word("ONE", 0.0, 0.4), Word("TWO", 0.5, 0.9), Word("SIX", 3.0, 3.4)]
        >>> [segment.text for segment in split_segments(words)]
        ['ONE TWO', 'SIX']
    """
    words, ruler = list(words), Ruler(words)
    costs, firsts = [0.0], [0]
    for last in range(1, len(words) + 1):
        break_cost = _break_cost(words[last - 1], words[last]) if last < len(words) else 0.0
        found = ((costs[first] + _cost(words, ruler, first, last), first) for first in _firsts(words, ruler, last))
        cost, first = min(found)
        costs.append(cost + break_cost)
        firsts.append(first)
    segments, last = list[Segment](), len(words)
    while last:
        segments.append(Segment(tuple(words[firsts[last] : last])))
        last = firsts[last]
    return segments[::-1]


def _firsts(words: Sequence[Word], ruler: Ruler, last: int) -> Iterator[int]:
    """First words of the segments that may end before ``last``."""
    yield last - 1
    for first in range(last - 2, -1, -1):
        paused = words[first + 1].start - words[first].end >= PAUSE
        if paused or words[last - 1].end - words[first].start > LONGEST_SEGMENT or not ruler.fits(first, last):
            return
        yield first


def _cost(words: Sequence[Word], ruler: Ruler, first: int, last: int) -> float:
    """Cost of a segment."""
    seconds = words[last - 1].end - words[first].start
    share = max(seconds / LONGEST_SEGMENT, ruler.columns(first, last) / (NUM_LINES * LINE_COLUMNS))
    cost = _SEGMENT + _CROWDED * share**2
    if last < len(words):
        missing = SHORTEST_SEGMENT - max(seconds, words[last].start - words[first].start)
        if missing > _TOLERANCE:
            cost += _FLASH * (1 + missing / SHORTEST_SEGMENT)
    return cost


def _break_cost(left: Word, right: Word) -> float:
    """Cost of a break between two words: less than nothing where one is welcome."""
    cost = -_GAP * min(1.0, max(0.0, right.start - left.end) / PAUSE)
    if not may_break(left, right):
        return cost + _INSEPARABLE
    if ends_sentence(left):
        return cost - _SENTENCE
    return cost - _CLAUSE if ends_clause(left) else cost
