"""The best path of states through frames (Viterbi, 1967), in a band of states that follows it.

An hour of speech has 180,000 frames and 100,000 states: all pairs of them fit neither memory nor patience. The band
moves with the likeliest state. A path that comes near the band's edge may have been pushed there, and is searched
again in a wider one. What leads to a state is kept for a stretch of frames at a time, and computed a second time when
the path is traced back: of the search itself only the path grows with the length.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
Path = npt.NDArray[np.int64]

BAND = 1024
"""States of the first search: half a minute of speech."""
_WIDER = 4
_EDGE = 4
"""Part of the band from its edge in which a path is not trusted."""
_BLOCK = 16
"""Frames after which the band moves."""
_CELLS = 1 << 23
"""Steps that are kept at once, a byte each."""


@dataclass(frozen=True)
class Chain:
    """States in order, of which a path visits every one, some of them only if it likes.

    Args:
        columns: (S,) of the log posteriors, which each state outputs.
        may_skip: (S,) whether the state before may be left out.
        may_stop: whether a path may end in any state; else in the last one, or the one before.
    """

    columns: npt.NDArray[np.intp]
    may_skip: npt.NDArray[np.bool_]
    may_stop: bool = False


def find_path(log_probs: npt.NDArray[np.floating], chain: Chain, band: int = BAND) -> Path | None:
    """Find the likeliest path of a chain.

    Args:
        log_probs: (T, C) in nats, 1 frame or more.
        chain: its states; a path starts in the first or the second.
        band: states of the first search; one of all states is exact.

    Returns:
        (T,) the state of every frame; None where no path fits the frames.

    Examples:
        >>> chain = Chain(np.array([0, 1, 0]), np.array([False, False, False]))
        >>> find_path(np.log([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]), chain).tolist()
        [0, 1, 2]
    """
    size = len(chain.columns)
    while True:
        search = _Search(log_probs, chain, min(band, size))
        path = search.run()
        if band >= size or (path is not None and not search.touches_edge(path)):
            return path
        band *= _WIDER


class _Search:
    """One search in a band of one width."""

    def __init__(self, log_probs: npt.NDArray[np.floating], chain: Chain, width: int) -> None:
        self._log_probs, self._chain, self._width = log_probs, chain, width
        self._frames, self._size = len(log_probs), len(chain.columns)
        self._skip = np.where(chain.may_skip, 0.0, -np.inf)
        self._lows = np.zeros(self._frames // _BLOCK + 1, dtype=np.int64)
        # Two cells before the band, of which nothing comes.
        self._scores = np.full(width + 2, -np.inf)
        self._low = 0

    def run(self) -> Path | None:
        """Return the path within the band; None where it reaches no end."""
        rows = max(_BLOCK, _CELLS // self._width // _BLOCK * _BLOCK)
        bounds = [*range(0, self._frames, rows), self._frames]
        starts = []
        for begin, end in pairwise(bounds[:-1]):
            starts.append((begin, end, self._scores.copy(), self._low))
            self._advance(begin, end, None)
        steps = np.zeros((min(rows, self._frames), self._width), dtype=np.int8)
        self._advance(bounds[-2], bounds[-1], steps)
        state = self._end()
        if state is None:
            return None
        path = np.empty(self._frames, dtype=np.int64)
        state = self._trace(path, bounds[-2], bounds[-1], steps, state)
        for begin, end, self._scores, self._low in reversed(starts):
            self._advance(begin, end, steps)
            state = self._trace(path, begin, end, steps, state)
        return path

    def touches_edge(self, path: Path) -> bool:
        """Return whether a path comes so near an edge of the band that a better one may lie beyond."""
        lows = np.repeat(self._lows, _BLOCK)[: self._frames]
        margin = self._width // _EDGE
        below = (path - lows < margin) & (lows > 0)
        above = (lows + self._width - path <= margin) & (lows + self._width < self._size)
        return bool((below | above).any())

    def _advance(self, begin: int, end: int, steps: npt.NDArray[np.int8] | None) -> None:
        """Compute the scores of a stretch of frames, and where each came from: 0, 1 or 2 states before."""
        scores, width = self._scores, self._width
        stay, one, two = scores[2:], scores[1:-1], scores[:-2]
        best, jumped = np.empty(width), np.empty(width)
        moved, skipped = np.empty(width, dtype=bool), np.empty(width, dtype=bool)
        for first in range(begin, end, _BLOCK):
            self._move_band(first)
            here = slice(self._low, self._low + width)
            last, skip = min(first + _BLOCK, end), self._skip[here]
            emitted = self._log_probs[first:last].astype(np.float64)[:, self._chain.columns[here]]
            for frame, row in enumerate(emitted, first):
                if frame == 0:
                    stay[:2] = row[:2]
                    continue
                np.add(two, skip, out=jumped)
                np.maximum(stay, one, out=best)
                if steps is not None:
                    np.greater(one, stay, out=moved)
                    np.greater(jumped, best, out=skipped)
                    step = steps[frame - begin]
                    np.multiply(skipped.view(np.int8), np.int8(2), out=step)
                    np.maximum(step, moved.view(np.int8), out=step)
                np.maximum(best, jumped, out=best)
                np.add(best, row, out=stay)

    def _move_band(self, frame: int) -> None:
        """Move the band so that the likeliest state lies in its middle, and the end can still be reached."""
        middle = self._low + int(self._scores[2:].argmax()) - self._width // 2
        needed = 0 if self._chain.may_stop else self._size - self._width - 2 * (self._frames - frame)
        low = min(max(self._low, middle, needed), self._size - self._width)
        if shift := low - self._low:
            kept = self._scores[2 + shift :].copy()
            self._scores[2:] = -np.inf
            self._scores[2 : 2 + len(kept)] = kept
        self._low = self._lows[frame // _BLOCK] = low

    def _end(self) -> int | None:
        scores, size = self._scores[2:], self._size
        if self._chain.may_stop:
            ends = np.arange(self._width)
        else:
            ends = np.array([end - self._low for end in (size - 1, size - 2) if 0 <= end - self._low < self._width])
        if not len(ends) or not np.isfinite(scores[ends].max()):
            return None
        return self._low + int(ends[scores[ends].argmax()])

    def _trace(self, path: Path, begin: int, end: int, steps: npt.NDArray[np.int8], state: int) -> int:
        """Write the path of a stretch that ends in a state; the state before the stretch."""
        for frame in range(end - 1, begin - 1, -1):
            path[frame] = state
            if frame:
                state -= int(steps[frame - begin, state - self._lows[frame // _BLOCK]])
        return state
