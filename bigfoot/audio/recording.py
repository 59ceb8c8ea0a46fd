"""Files and arrays as one thing: recordings whose length is known and whose samples come at the model's rate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bigfoot.audio.chunking import Chunk
from bigfoot.audio.files import normalize_waveform, read_audio, read_blocks, read_header, samples_problem
from bigfoot.errors import AudioError
from bigfoot.types import Hertz, Samples, Seconds

Source: TypeAlias = str | Path | npt.NDArray[np.floating]
"""A file, or samples (N,) at the model's rate."""


@dataclass(frozen=True)
class Recording:
    """Something to transcribe.

    Args:
        name: for messages and results.
        num_samples: at the model's rate; of a file, as its header has it.
        sample_rate: the model's, in Hz.
        samples: of an array; None for a file, which is read when it is needed.
        offset: its start in the file.
        duration: how long a stretch of the file it is; to its end by default.
        channel: of the file, from 0; the mean of all by default.
    """

    name: str
    num_samples: int
    sample_rate: Hertz
    samples: Samples | None = None
    offset: Seconds = 0.0
    duration: Seconds | None = None
    channel: int | None = None

    @property
    def seconds(self) -> Seconds:
        """Length in seconds."""
        return self.num_samples / self.sample_rate

    def load(self) -> Samples:
        """All of it.

        Raises:
            AudioError: see ``read_audio``.
        """
        if self.samples is not None:
            return self.samples
        return read_audio(
            self.name, offset=self.offset, duration=self.duration, sample_rate=self.sample_rate, channel=self.channel
        )

    def blocks(self) -> Iterator[Samples]:
        """All of it, a little at a time.

        Raises:
            AudioError: see ``read_blocks``.
        """
        if self.samples is None:
            yield from read_blocks(
                self.name, offset=self.offset, duration=self.duration, sample_rate=self.sample_rate,
                channel=self.channel,
            )  # fmt: skip
            return
        size = 10 * self.sample_rate
        yield from (self.samples[start : start + size] for start in range(0, len(self.samples), size))


def open_recording(source: Source, number: int, sample_rate: Hertz) -> Recording:
    """Inspect a source without reading its audio.

    Args:
        source: a file or an array.
        number: of the source, which names an array.
        sample_rate: the model's, in Hz.

    Raises:
        AudioError: no such file, no audio; an array that is not one row of finite floats.
    """
    if isinstance(source, str | Path):
        return Recording(str(source), round(read_header(source).seconds * sample_rate), sample_rate)
    name, samples = f"array {number}", np.asarray(source)
    if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
        found = f"{samples.dtype} of shape {samples.shape}"
        raise AudioError(name, f"expected float samples of shape (N,) at {sample_rate} Hz in [-1, 1], got {found}")
    if len(samples) == 0:
        raise AudioError(name, "holds no samples")
    with np.errstate(over="ignore"):  # What float32 cannot hold becomes infinite, and is refused for that.
        samples = samples.astype(np.float32, copy=False)
    if problem := samples_problem(samples):
        raise AudioError(name, problem)
    return Recording(name, len(samples), sample_rate, samples)


@dataclass(frozen=True)
class Moments:
    """Length, mean and variance of a recording.

    Args:
        num_samples: of it.
        mean: of its samples.
        variance: of its samples.
    """

    num_samples: int
    mean: np.float32
    variance: np.float32


def measure_moments(blocks: Iterable[Samples]) -> Moments:
    """Read a recording through once.

    Args:
        blocks: of it.

    Examples:
        >>> measure_moments([np.array([1.0, 3.0], np.float32), np.array([2.0], np.float32)]).num_samples
        3
    """
    count, mean, squares = 0, 0.0, 0.0
    for block in blocks:
        if len(block) == 0:
            continue
        # Chan et al. (1979), equation 2.1: the sums of two parts into one, without taking large numbers apart.
        size, own = len(block), float(np.mean(block, dtype=np.float64))
        shift = own - mean
        squares += float(np.var(block, dtype=np.float64)) * size + shift**2 * count * size / (count + size)
        mean += shift * size / (count + size)
        count += size
    return Moments(count, np.float32(mean), np.float32(squares / max(1, count)))


def normalize_part(samples: Samples, moments: Moments | None) -> Samples:
    """Normalize what may be a part of something longer: with the loudness of the whole, not with its own.

    Args:
        samples: (N,).
        moments: of the whole; None where the samples are that.

    Returns:
        (N,) float32.

    Examples:
        >>> normalize_part(np.array([1.0, 3.0], np.float32), None).round(3).tolist()
        [-1.0, 1.0]
    """
    if moments is None:
        return normalize_waveform(samples)
    return normalize_waveform(samples, moments.mean, moments.variance)


def cut_chunks(blocks: Iterable[Samples], chunks: Sequence[Chunk]) -> Iterator[Samples]:
    """Cut a recording while it is read; no more is held than a chunk and a block.

    Args:
        blocks: of the recording, not all of them empty.
        chunks: in order, none beyond its end.

    Yields:
        The samples of each chunk.

    Examples:
        >>> wave = np.arange(9, dtype=np.float32)
        >>> [piece.tolist() for piece in cut_chunks(np.array_split(wave, 4), [Chunk(0, 4, 0), Chunk(2, 6, 1)])]
        [[0.0, 1.0, 2.0, 3.0], [2.0, 3.0, 4.0, 5.0]]
    """
    rest, held, begin = iter(blocks), np.zeros(0, dtype=np.float32), 0
    for chunk in chunks:
        parts, end = [held[chunk.start - begin :]], begin + len(held)
        while end < chunk.end and (block := next(rest, None)) is not None:
            parts.append(block)
            end += len(block)
        held, begin = np.concatenate(parts), chunk.start
        yield held[: chunk.end - begin]
