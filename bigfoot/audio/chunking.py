"""Long audio in overlapping chunks, and one row of tokens out of them again.

A chunk starts at a whole frame of the recording, so its frames are the recording's, only with less context.
Neighbours are joined frame by frame, before repeats are merged: a letter is neither lost nor doubled where both chunks
agree, so that is where they are cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bigfoot.types import Seconds

LONGEST_CHUNK: Seconds = 30.0
"""Longer audio is cut: attention grows with the square, and models have not trained on more."""
OVERLAP: Seconds = 4.0
# Models that halve, third or quarter their frames count from the chunk's first.
_WHOLE_GROUPS = 12

FrameIds = npt.NDArray[np.int64]
Rows: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Chunk:
    """A stretch of a recording.

    Args:
        start: first sample, a whole number of strides.
        end: one beyond its last.
        start_frame: the recording's frame that is its first.
    """

    start: int
    end: int
    start_frame: int


def plan_chunks(num_samples: int, stride: int, longest: int, overlap: int) -> list[Chunk]:
    """Cut a recording into chunks of one length, but for the last.

    The length is the same for all recordings, so that an hour needs no more memory than a minute.

    Args:
        num_samples: of the recording, 1 or more.
        stride: samples from frame to frame.
        longest: most samples of a chunk; the overlap and a dozen strides at the least.
        overlap: samples that neighbours share.

    Returns:
        The chunks in order; one where the recording is no longer than that.

    Examples:
        >>> [(chunk.start, chunk.end) for chunk in plan_chunks(1000, 2, 480, 48)]
        [(0, 480), (432, 912), (864, 1000)]
    """
    if num_samples <= longest:
        return [Chunk(0, num_samples, 0)]
    step = _WHOLE_GROUPS * stride
    hop = max(step, (longest - overlap) // step * step)
    starts = range(0, num_samples - overlap, hop)
    return [Chunk(start, min(start + hop + overlap, num_samples), start // stride) for start in starts]


def join_frames(pieces: Iterable[tuple[int, FrameIds]]) -> FrameIds:
    """Join the tokens of overlapping chunks.

    Args:
        pieces: of each chunk its first frame in the recording, and its best tokens (T,), in order.

    Returns:
        The recording's best tokens (T,).

    Examples:
        >>> left, right = np.array([7, 0, 0, 5, 0, 0, 9]), np.array([8, 0, 5, 0, 0, 0, 6])
        >>> join_frames([(0, left), (1, right)]).tolist()
        [7, 0, 0, 5, 0, 0, 0, 6]
    """
    kept = join_rows((start, ids, ids) for start, ids in pieces)
    return np.concatenate([*kept, np.zeros(0, dtype=np.int64)])


def join_rows(pieces: Iterable[tuple[int, FrameIds, Rows]]) -> Iterator[Rows]:
    """Join what stands in the frames of overlapping chunks, where their best tokens agree.

    Args:
        pieces: of each chunk its first frame in the recording, its best tokens (T,), and its rows (T, ...), in order.

    Yields:
        Rows of the recording, those of a chunk when the next one is there.

    Examples:
        >>> left, right = np.array([7, 0, 0, 5]), np.array([0, 0, 5, 6])
        >>> [rows.tolist() for rows in join_rows([(0, left, left * 10), (1, right, right * 10)])]
        [[70, 0], [0, 50, 60]]
    """
    begin, pending = 0, np.zeros(0, dtype=np.int64)  # What is not given away yet, and its first frame.
    held: Rows | None = None
    for start, ids, rows in pieces:
        shared = begin + len(pending) - start
        cut = start + (find_cut(pending[start - begin :], ids[:shared]) if shared > 0 else 0)
        if held is not None:
            yield held[: cut - begin]
        begin, pending, held = cut, ids[cut - start :], rows[cut - start :]
    if held is not None:
        yield held


def find_cut(left: Sequence[int] | FrameIds, right: Sequence[int] | FrameIds) -> int:
    """Find the frame at which to pass from one chunk to the next within their overlap.

    It is the middle of the longest stretch on which both agree, in the middle half of the overlap: at its
    ends one of the two chunks has too little context.

    Args:
        left: (T,) tokens of the chunk that ends here.
        right: (T,) tokens of the chunk that starts here.

    Returns:
        Frames to be taken from the left; the middle where they agree nowhere.

    Examples:
        >>> find_cut([1, 2, 0, 0, 0, 0, 3, 4], [9, 2, 2, 0, 0, 0, 3, 4])
        4
    """
    frames = len(left)
    low, high, middle = frames // 4, frames - frames // 4, frames // 2
    best: tuple[int, int, int] = (0, 0, middle)  # Length of a stretch, nearness to the middle, and where to cut it.
    begin = low
    for frame in range(low, high + 1):
        if frame < high and left[frame] == right[frame]:
            continue
        center = (begin + frame) // 2
        best = max(best, (frame - begin, -abs(center - middle), center)) if frame > begin else best
        begin = frame + 1
    return best[2]
