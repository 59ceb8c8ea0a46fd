"""When words are spoken, by the frames of their tokens, a model's lag, and the pauses in the recording.

The start of a word is where its first token says, less the lag of that token: CTC outputs a letter some 0.1 s behind
the start of its sound, nearly the same for one letter of one model. The end of a word varies with its length, so that
loudness shows it: where a pause leads up to the next start the word ends with its sound, else at the next start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bigfoot.alignment.lag import Lag
from bigfoot.audio.loudness import STEP
from bigfoot.runtime.timing import LONG_PAUSE, LONGEST_REACH, Clock, find_quiet_runs, group_by_tokens
from bigfoot.runtime.timing import time_words as time_by_loudness
from bigfoot.text.words import PlacedText
from bigfoot.types import Seconds

Interval = tuple[Seconds, Seconds]

_NEAR: Seconds = 0.06
"""A pause ends so near to where a word is expected to start."""
_NARROW: Seconds = 0.03
"""So near, both show the start."""
_PAUSE: Seconds = 0.03
_FINAL_PAUSE: Seconds = 0.1
_LATE: Seconds = 0.1
"""An end so far behind where it is expected is sought again, and left no later than that."""
_TAIL: Seconds = 0.25
"""Behind where it is expected, in which it is sought."""


@dataclass(frozen=True)
class FramedWord:
    """A word, or a stretch of untranscribed speech, and the frames of its tokens.

    Args:
        start_frame: first frame.
        end_frame: behind its last frame.
        first_token: what its first token writes.
        last_token: what its last token writes.
    """

    start_frame: int
    end_frame: int
    first_token: str
    last_token: str


def time_words(words: Sequence[FramedWord], clock: Clock, lag: Lag | None) -> list[Interval]:
    """Estimate when words are spoken.

    Args:
        words: in order; neighbours of the same frames share their time.
        clock: of the recording.
        lag: of the model; None for times by loudness alone.

    Returns:
        Start and end of each, in order, none over the next, none empty.
    """
    groups = list(group_by_tokens(words))
    firsts = [group[0] for group in groups]
    if lag is None:
        placed = [PlacedText("", word.start_frame, word.end_frame) for word in firsts]
        found = [(word.start, word.end) for word in time_by_loudness(placed, clock)]
    else:
        found = _time_by_lag(firsts, clock, lag)
    times: list[Interval] = []
    for group, (start, end) in zip(groups, _part(found, clock), strict=True):
        bounds = np.linspace(start, end, len(group) + 1).tolist()
        times += pairwise(bounds)
    return times


def time_tokens(begins: Sequence[Seconds], word: Interval) -> list[Interval]:
    """Split a word among its tokens, each up to the next.

    Args:
        begins: where each token is expected to start.
        word: its start and end.

    Examples:
        >>> [(round(start, 2), round(end, 2)) for start, end in time_tokens([0.9, 1.2, 1.1], (1.0, 1.5))]
        [(1.0, 1.2), (1.2, 1.27), (1.27, 1.5)]
    """
    (start, end), count = word, len(begins)
    least = (end - start) / (2 * count + 1) if count > 1 else 0.0
    bounds = [start, *begins[1:], end]
    for index in range(1, count):
        bounds[index] = max(bounds[index], bounds[index - 1] + least)
    for index in range(count - 1, 0, -1):
        bounds[index] = min(bounds[index], bounds[index + 1] - least)
    return list(pairwise(bounds))


def _time_by_lag(words: Sequence[FramedWord], clock: Clock, lag: Lag) -> list[Interval]:
    starts, ends = list[Seconds](), list[Seconds]()
    for index, word in enumerate(words):
        expected = max(word.start_frame * clock.frame - lag.before(word.first_token), 0.0)
        before = words[index - 1] if index else None
        end, start = _find_pause(before, word, expected, clock)
        starts.append(start)
        ends += [end] if before else []
    if words:
        ends.append(_find_last_end(words[-1], clock, lag))
    nexts = [*starts[1:], clock.seconds]
    ends = [_seek_end(*given, clock, lag) for given in zip(words, ends, nexts, strict=True)]
    return [(start, max(start, end)) for start, end in zip(starts, ends, strict=True)]


def _seek_end(word: FramedWord, end: Seconds, following: Seconds, clock: Clock, lag: Lag) -> Seconds:
    """Return the end of a word, sought again where it is late and the next one starts later still.

    Quiet is now what is quiet beside the word and before it: where the noise of a recording steps up or down behind a
    word, what lies there would tell nothing of its end.
    """
    expected = word.end_frame * clock.frame - lag.behind(word.last_token)
    if following - expected < _LATE or end - expected <= _LATE:
        return end
    first = round((word.end_frame - 1) * clock.frame / STEP)
    last = round(min(following, expected + _TAIL) / STEP)
    found = find_quiet_runs(clock.loudness[:last], first, last)
    runs = np.zeros((0, 2)) if found is None else (first + found) * STEP
    pauses = runs[runs[:, 1] - runs[:, 0] >= _PAUSE - 1e-6]
    return min(end, float(pauses[0, 0]) if len(pauses) else expected + _LATE)


def _find_pause(
    before: FramedWord | None, word: FramedWord, expected: Seconds, clock: Clock
) -> tuple[Seconds, Seconds]:
    """End of the word before and start of a word; one time where no pause leads up to it."""
    low = (before.end_frame - 1) * clock.frame if before else 0.0
    high = min(expected + _NEAR, (word.start_frame + 1) * clock.frame)
    found = find_quiet_runs(clock.loudness, round(low / STEP), round(high / STEP)) if high > low else None
    runs = np.zeros((0, 2)) if found is None else round(low / STEP) * STEP + STEP * found
    lengths = runs[:, 1] - runs[:, 0]
    leading = runs[(abs(runs[:, 1] - expected) <= _NEAR) & ((lengths >= _PAUSE - 1e-6) | (before is None))]
    long = runs[lengths >= LONG_PAUSE]
    start = expected
    if len(leading) and abs(leading[-1, 1] - expected) <= _NARROW:
        start = (expected + float(leading[-1, 1])) / 2
    pauses = long if len(long) else leading
    end = min(float(pauses[0, 0]), start) if len(pauses) else start
    if before:
        end = min(end, before.end_frame * clock.frame + LONGEST_REACH)
    return end, start


def _find_last_end(word: FramedWord, clock: Clock, lag: Lag) -> Seconds:
    """End of the last word: where a pause starts that lasts, or leads to the end of the recording."""
    low, latest = (word.end_frame - 1) * clock.frame, min(word.end_frame * clock.frame + LONGEST_REACH, clock.seconds)
    first = round(low / STEP)
    found = find_quiet_runs(clock.loudness, first, round((latest + _FINAL_PAUSE) / STEP))
    for begin, end in [] if found is None else (first + found) * STEP:
        if end - begin >= _FINAL_PAUSE or end >= clock.seconds - _NARROW:
            return min(float(begin), latest)
    return min(word.end_frame * clock.frame - lag.behind(word.last_token), latest)


def _part(times: Sequence[Interval], clock: Clock) -> list[Interval]:
    """Times in order, none over the next, each of half a frame at the least, within the recording."""
    least, count = clock.frame / 2, len(times)
    least = min(least, clock.seconds / (count + 1)) if count else least
    found: list[Interval] = []
    # Backwards first: what starts too late for those behind it to have a place is moved before them.
    latest = clock.seconds
    for start, end in reversed(times):
        end = min(end, latest)
        start = min(start, end - least)
        found.append((start, end))
        latest = start
    earliest = 0.0
    for index in range(count - 1, -1, -1):
        start = max(found[index][0], earliest)
        end = max(found[index][1], start + least)
        found[index] = start, end
        earliest = end
    return found[::-1]
