"""Times of words: CTC shows about where a word is, loudness shows where it starts and ends.

CTC outputs a token once, somewhere within its sound: a word's first token comes some 0.1 s behind its start, its last
one some 0.1 s before its end, by how much depends on the model and the word. Between the last token of a word and the
first one of the next lies the boundary: a pause, or the quietest moment. Nothing here is fitted to a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from bigfoot.audio.loudness import STEP, Decibels
from bigfoot.runtime.segments import LINE_COLUMNS, LONGEST_SEGMENT
from bigfoot.runtime.words import Word
from bigfoot.text.tokenizer import Tokenizer
from bigfoot.text.words import PlacedText, RunLimits
from bigfoot.types import Seconds

LONGEST_REACH: Seconds = 0.5
"""A word's sound goes no further beyond its tokens: what is loud there is noise or music."""
LONG_PAUSE: Seconds = 0.15
"""Longer than the closure of a stop within a word."""
_GAP_WITHIN_WORDS: Seconds = 1.5
_GAP_WITHOUT_SPACES: Seconds = 0.5
_CONTEXT: Seconds = 1.0
# Of the range from the quiet to the loud moments around: what lies below is a pause.
_QUIET_SHARE = 0.1
# In decibels; digital silence does not show how quiet a pause is.
_WIDEST_RANGE, _NARROWEST_RANGE, _SAME = 40.0, 6.0, 1.0

_Group: TypeAlias = list[PlacedText]


@dataclass(frozen=True)
class Clock:
    """What turns frames and steps to seconds.

    Args:
        frame: seconds from frame to frame.
        seconds: length of the recording.
        loudness: (N,) decibels of steps of 10 ms; may be shorter than the recording, or empty.
    """

    frame: Seconds
    seconds: Seconds
    loudness: Decibels


def read_words(frame_ids: Sequence[int], tokenizer: Tokenizer, clock: Clock) -> list[Word]:
    """Read the best token of every frame as words with times.

    Args:
        frame_ids: (T,) ids.
        tokenizer: of the model.
        clock: of the recording.

    Returns:
        The words in order, none over the next; ``join_words`` of them is ``tokenizer.decode_ctc``. A run of letters
        that is no word, such as where a vocabulary has no space, is cut in its gaps.
    """
    spaced = any(character.isspace() for piece in tokenizer.pieces for character in piece)
    gap = (_GAP_WITHIN_WORDS if spaced else _GAP_WITHOUT_SPACES) / clock.frame
    limits = RunLimits(LINE_COLUMNS, (LONGEST_SEGMENT - 2 * LONGEST_REACH) / clock.frame, gap)
    return time_words(tokenizer.decode_words(frame_ids, limits), clock)


def time_words(words: Sequence[PlacedText], clock: Clock) -> list[Word]:
    """Estimate when words are spoken.

    Args:
        words: with the frames of their tokens, in order.
        clock: of the recording.

    Returns:
        The words with times, in order, none over the next.

    Examples:
        >>> loudness = np.full(100, -60, np.float32)
        >>> loudness[10:45] = loudness[65:80] = -20
        >>> words = [PlacedText("ONE", 8, 16), PlacedText("TWO", 36, 38)]
        >>> [(w.start, w.end) for w in time_words(words, Clock(0.02, 1.0, loudness))]
        [(0.1, 0.45), (0.65, 0.8)]
    """
    groups = list(group_by_tokens(words))
    pauses = [_find_pause(before, after, clock) for before, after in pairwise([None, *groups, None])]
    found: list[Word] = []
    for group, (_, start), (end, _) in zip(groups, pauses[:-1], pauses[1:], strict=True):
        bounds = np.linspace(start, end, len(group) + 1).tolist()
        found += [Word(w.text, a, b, w.joined) for w, a, b in zip(group, bounds[:-1], bounds[1:], strict=True)]
    return found


class OnFrames(Protocol):
    """What has a first frame, and one beyond its last."""

    @property
    def start_frame(self) -> int:
        """First frame."""

    @property
    def end_frame(self) -> int:
        """Behind the last frame."""


_OnFrames = TypeVar("_OnFrames", bound=OnFrames)


def group_by_tokens(words: Sequence[_OnFrames]) -> Iterator[list[_OnFrames]]:
    """Yield words of one token together: nothing shows where between them the boundary is.

    Args:
        words: in order.
    """
    group: list[_OnFrames] = []
    for word in words:
        if group and word.start_frame >= group[-1].end_frame:
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def _find_pause(before: _Group | None, after: _Group | None, clock: Clock) -> tuple[Seconds, Seconds]:
    """End of the words before and start of those after; they are one where there is no pause between."""
    # A word keeps half a frame at the least, whatever is found.
    low = max(before[-1].end_frame - 1, before[0].start_frame + 1) * clock.frame if before else 0.0
    high = min((after[0].start_frame + 0.5) * clock.frame if after else clock.seconds, clock.seconds)
    low = min(low, high)
    # How far the words reach beyond their tokens.
    latest = min(before[-1].end_frame * clock.frame + LONGEST_REACH, high) if before else low
    earliest = max(after[0].start_frame * clock.frame - LONGEST_REACH, low) if after else high
    first, last = low if before else earliest, high if after else latest
    found = _find_quiet(clock.loudness, round(first / STEP), round(last / STEP), sides=(before, after))
    if found is not None:
        end, start = (min(max(step * STEP, low), high) for step in found)
    elif before and after:
        end = start = (low + high) / 2
    else:
        end = before[-1].end_frame * clock.frame if before else low
        start = after[0].start_frame * clock.frame if after else high
    return min(end, latest), max(start, earliest)


def _find_quiet(
    loudness: Decibels, first: int, last: int, sides: tuple[_Group | None, _Group | None]
) -> tuple[int, int] | None:
    """First step of the pause between two words, and the step behind it; None where loudness shows nothing."""
    window, quiet = loudness[first:last], find_quiet_runs(loudness, first, last)
    if quiet is None:
        return None
    if not len(quiet):
        # The quietest moment; where it is long, as in music, its middle.
        quietest = np.flatnonzero(window <= window.min() + _SAME)
        return (first + int(np.median(quietest)),) * 2
    lengths = quiet[:, 1] - quiet[:, 0]
    long = quiet[lengths >= round(LONG_PAUSE / STEP)]
    if sides[0] is None:
        chosen = quiet[-1:]
    elif len(long):
        chosen = long
    else:
        chosen = quiet[-1:] if sides[1] is None else quiet[[lengths.argmax()]]
    return first + int(chosen[0, 0]), first + int(chosen[-1, 1])


def find_quiet_runs(loudness: Decibels, first: int, last: int) -> npt.NDArray[np.int64] | None:
    """Find the quiet runs of a stretch, beside the loudest and the quietest moments around it.

    Args:
        loudness: (N,) decibels of steps of 10 ms.
        first: first step of the stretch.
        last: the step behind it.

    Returns:
        (R, 2) first steps of the runs, from ``first``, and the steps behind them; None where all is about as loud.

    Examples:
        >>> find_quiet_runs(np.float32([-20] * 5 + [-60] * 3 + [-20] * 5), 0, 13).tolist()
        [[5, 8]]
    """
    context = round(_CONTEXT / STEP)
    window, around = loudness[first:last], loudness[max(0, first - context) : last + context]
    if not len(window):
        return None
    low, high = _find_range(around)
    low = max(low, high - _WIDEST_RANGE)
    if high - low < _NARROWEST_RANGE:
        return None
    return _find_runs(window <= low + _QUIET_SHARE * (high - low))


def _find_range(loudness: Decibels) -> tuple[float, float]:
    """Quietest and loudest, without the outermost twentieths."""
    low, high = len(loudness) // 20, len(loudness) - 1 - len(loudness) // 20
    ordered = np.partition(loudness, [low, high])
    return float(ordered[low]), float(ordered[high])


def _find_runs(quiet: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """(R, 2) first steps of quiet runs, and the steps behind them."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]])))
    return edges.reshape(-1, 2)
