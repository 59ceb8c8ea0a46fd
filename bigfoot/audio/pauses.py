"""Long audio cut at its pauses, for what cannot be joined frame by frame: texts of decoders, and texts that are known.

Pieces do not overlap. A piece ends in the middle of the quietest moment of its second half, so that no word is heard
twice, and none is cut in two where people pause once in a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from bigfoot.audio.chunking import Chunk
from bigfoot.audio.recording import Moments, Recording, cut_chunks, measure_moments
from bigfoot.types import Samples, Seconds

LONGEST_PIECE: Seconds = 40.0
"""What is longer is cut; a little more than the longest utterance of LibriSpeech, so that corpora of utterances are
judged whole."""
_STEP: Seconds = 0.02
_PAUSE: Seconds = 0.3


@dataclass(frozen=True)
class Piece:
    """A stretch of a recording as it was read.

    Args:
        chunk: where it lies; its samples may reach beyond the next one's beginning, by what a frame there needs.
        until: first sample of the next piece; of the last one, the recording's length.
        index: 0 and up.
        count: how many pieces the recording has.
        samples: (N,) of the chunk, not normalized.
        moments: of the whole recording, to normalize with; None where this is the whole.
    """

    chunk: Chunk
    until: int
    index: int
    count: int
    samples: Samples
    moments: Moments | None


class _Meter:
    """Takes the variance of every step of a recording while somebody else reads it."""

    def __init__(self, step: int) -> None:
        self._step, self._rest = step, np.zeros(0, dtype=np.float32)
        self._found: list[npt.NDArray[np.float32]] = []

    def tap(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        for block in blocks:
            samples = np.concatenate([self._rest, block])
            whole = len(samples) // self._step * self._step
            # Not the mean square: a constant offset is no sound.
            self._found.append(samples[:whole].reshape(-1, self._step).var(axis=1))
            self._rest = samples[whole:]
            yield block

    @property
    def loudness(self) -> npt.NDArray[np.float32]:
        return np.concatenate([np.zeros(0, dtype=np.float32), *self._found])


def plan_pieces(
    num_samples: int, loudness: npt.NDArray[np.floating], step: int, longest: int, *, pause: int = 15, tail: int = 0
) -> list[Chunk]:
    """Choose where to cut a recording.

    Args:
        num_samples: of the recording, 1 or more.
        loudness: (num_samples // step,) of every step.
        step: samples of a step; pieces begin at whole ones.
        longest: most samples of a piece, ``tail`` aside; 8 steps or more.
        pause: steps over which loudness is averaged, no more than there are in a piece.
        tail: samples that a piece hears beyond its end, where there are any.

    Returns:
        The pieces in order, each between half of ``longest`` and ``longest``, but for the last, which has a quarter at
        least; one where the recording is no longer than that.

    Examples:
        >>> loudness = np.ones(100)
        >>> loudness[[33, 71]] = 0
        >>> [(piece.start, piece.end) for piece in plan_pieces(1000, loudness, 10, 400, pause=1)]
        [(0, 330), (330, 710), (710, 1000)]
    """
    if num_samples <= longest:
        return [Chunk(0, num_samples, 0)]
    smooth = np.convolve(loudness, np.ones(pause), "same")
    pieces, start = [], 0
    while num_samples - start > longest:
        low, high = (start + longest // 2) // step, min(start + longest, num_samples - longest // 4) // step
        # The last of equals: in digital silence pieces are as long as they may be.
        cut = (high - int(smooth[low : high + 1][::-1].argmin())) * step
        pieces.append(Chunk(start, min(cut + tail, num_samples), start // step))
        start = cut
    return [*pieces, Chunk(start, num_samples, start // step)]


def cut_at_pauses(
    recording: Recording, *, longest: Seconds = LONGEST_PIECE, step: int | None = None, tail: int = 0, skip: int = 0
) -> Iterator[Piece]:
    """Read a recording in pieces; a long one twice, first to look for pauses, and never more than a piece and a block.

    Args:
        recording: of any length.
        longest: most seconds of a piece.
        step: samples to whose multiples pieces are cut, such as a model's stride; 20 ms by default.
        tail: samples that a piece hears beyond its end.
        skip: pieces that are left out at the beginning.

    Yields:
        The pieces in order.

    Raises:
        AudioError: as soon as the first piece is asked for, whatever is wrong anywhere in the recording.

    Examples:
        >>> wave = np.concatenate([np.ones(20_000), np.zeros(8_000), np.ones(20_000)]).astype(np.float32)
        >>> wave[::2] *= -1
        >>> cut = cut_at_pauses(Recording("x", len(wave), 16_000, wave), longest=2)
        >>> [(piece.chunk.start, len(piece.samples)) for piece in cut]
        [(0, 25280), (25280, 22720)]
    """
    step, size = step or round(_STEP * recording.sample_rate), round(longest * recording.sample_rate)
    if recording.num_samples <= size:
        samples = recording.load()
        yield from [Piece(Chunk(0, len(samples), 0), len(samples), 0, 1, samples, None)][skip:]
        return
    meter, pause = _Meter(step), max(1, round(_PAUSE * recording.sample_rate / step))
    moments = measure_moments(meter.tap(recording.blocks()))
    chunks = plan_pieces(moments.num_samples, meter.loudness, step, size, pause=pause, tail=tail)
    ends = [*(chunk.start for chunk in chunks[1:]), moments.num_samples]
    waves = cut_chunks(recording.blocks(), chunks)
    for index, samples in islice(enumerate(waves), skip, None):
        yield Piece(chunks[index], ends[index], index, len(chunks), samples, moments)
