"""Times of words that travel with an utterance, and the times of labels that follow from them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bigfoot.errors import DataError
from bigfoot.types import Seconds

WORD_TIMES = "word_times"
"""Column of tables, and name among the labels of an utterance."""
Span = tuple[float, float]
"""Start and end."""


def format_word_times(spans: Sequence[tuple[Seconds, Seconds]]) -> str:
    """Write the times of the words of an utterance into a cell.

    Args:
        spans: start and end of each word.

    Examples:
        >>> format_word_times([(0.1, 0.32), (0.32, 0.5)])
        '0.100-0.320 0.320-0.500'
    """
    return " ".join(f"{start:.3f}-{end:.3f}" for start, end in spans)


def parse_word_times(cell: str) -> list[tuple[Seconds, Seconds]]:
    """Read a cell of ``format_word_times``.

    Args:
        cell: ``START-END`` in seconds a word, spaces between, in order and without overlap.

    Raises:
        DataError: it is something else.

    Examples:
        >>> parse_word_times("0.1-0.32 0.32-0.5")
        [(0.1, 0.32), (0.32, 0.5)]
    """
    spans, last = [], 0.0
    for word in cell.split():
        start, _, end = word.partition("-")
        try:
            span = float(start), float(end)
        except ValueError as error:
            raise DataError(f"{WORD_TIMES}: expected START-END in seconds for each word, got {word!r}") from error
        if not (last <= span[0] <= span[1] < math.inf):
            raise DataError(f"{WORD_TIMES}: {word!r} ends before it starts, or starts before the word before it ends")
        spans.append(span)
        last = span[1]
    return spans


def place_labels(ids: Sequence[int], pieces: Sequence[str], words: Sequence[Span]) -> list[Span]:
    """Spread the labels of a transcript over the times of its words, evenly within a word.

    A delimiter belongs to the word before it, and what it takes of that word is as long as a character of it.

    Args:
        ids: labels of the transcript.
        pieces: what each id adds to a text, spaces included (``Tokenizer.pieces``).
        words: start and end of each word.

    Returns:
        Start and end of each label.

    Raises:
        DataError: there are other words than times.

    Examples:
        >>> place_labels([1, 2, 0, 3], [" ", "A", "T", "I"], [(0.0, 3.0), (5.0, 6.0)])
        [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (5.0, 6.0)]
    """
    groups: list[int] = []
    was_space = True
    for index in ids:
        piece = pieces[index]
        is_space = not piece.strip()
        starts = not is_space and (was_space or piece[0].isspace())
        if starts:
            groups.append(0)
        if groups:
            groups[-1] += 1
        was_space = is_space
    if len(groups) != len(words) or sum(groups) != len(ids):
        raise DataError(f"{WORD_TIMES}: the transcript has {len(groups)} words, and there are times of {len(words)}")
    spans = []
    for (start, end), count in zip(words, groups, strict=True):
        each = (end - start) / count
        spans += [(start + each * place, start + each * (place + 1)) for place in range(count)]
    return spans
