"""Frames of audio that comes in cuts of any length: what a chunk is made of is kept until all of it is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bigfoot.errors import AudioError
from bigfoot.runtime.engine import AudioFacts
from bigfoot.types import Samples

Floats: TypeAlias = npt.NDArray[np.float32]
Step: TypeAlias = Callable[[Samples, Floats], tuple[Floats, Floats]]
"""From samples (B, T * stride) and a state (B, S) to logits (B, T, V) and the next state."""


@dataclass(frozen=True)
class StreamFacts:
    """How a model streams.

    Args:
        chunk: frames of a chunk.
        left: chunks before it that its frames attend to.
        state: numbers that it keeps from chunk to chunk.
    """

    chunk: int
    left: int
    state: int


class FrameStream:
    """Logits of one recording while it comes.

    Args:
        step: runs one chunk.
        audio: facts about the model.
        stream: how it streams.
    """

    def __init__(self, step: Step, audio: AudioFacts, stream: StreamFacts) -> None:
        self._step, self._stride = step, audio.stride
        self._chunk, self._size = stream.chunk * audio.stride, stream.state
        # Samples that the first frame has besides a stride; the model takes them for silence.
        self._overlap = audio.receptive_field - audio.stride
        self._start()

    def _start(self) -> None:
        self._state = np.zeros((1, self._size), np.float32)
        self._waiting, self._to_skip = np.zeros(0, np.float32), self._overlap

    @property
    def num_waiting(self) -> int:
        """Samples that wait for the end of their chunk."""
        return len(self._waiting)

    def feed(self, samples: Samples) -> Floats:
        """Take the next samples.

        Args:
            samples: (N,) of any length, floats from -1 to 1.

        Returns:
            (T, V) of the chunks that are complete with them; T may be 0.

        Raises:
            AudioError: they are no floats of one channel, or some are no numbers; the stream is as it was.
        """
        samples = np.asarray(samples)
        if samples.ndim != 1 or samples.dtype.kind != "f" or not np.isfinite(samples).all():
            shape = f"{samples.dtype} {samples.shape}"
            raise AudioError("the stream", f"expected finite floats of one channel, (N,), got {shape}")
        skipped = min(self._to_skip, len(samples))
        self._to_skip -= skipped
        self._waiting = np.concatenate([self._waiting, samples[skipped:].astype(np.float32, copy=False)])
        found = []
        while len(self._waiting) >= self._chunk:
            found.append(self._run(self._chunk))
        return _join(found)

    def flush(self) -> Floats:
        """End the recording: compute what is left of whole frames, and be ready for another recording.

        Returns:
            (T, V) of the frames after the last whole chunk.
        """
        whole = len(self._waiting) // self._stride * self._stride
        found = _join([self._run(whole)] if whole else [])
        self._start()
        return found

    def _run(self, count: int) -> Floats:
        logits, self._state = self._step(self._waiting[None, :count], self._state)
        self._waiting = self._waiting[count:]
        return logits[0]


def _join(found: list[Floats]) -> Floats:
    return np.concatenate(found) if found else np.zeros((0, 0), np.float32)


def run_rows(
    stream: FrameStream, rows: Samples, lengths: npt.NDArray[np.int64]
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Run whole recordings one after the other, as an engine does.

    Args:
        stream: at the start of a recording.
        rows: (B, N).
        lengths: (B,) real samples.

    Returns:
        Logits (B, T, V), zero behind the end of shorter ones, and (B,) frames.
    """
    found = []
    for row, length in zip(rows, lengths, strict=True):
        parts = [stream.feed(row[:length]), stream.flush()]
        found.append(_join([part for part in parts if len(part)]))
    longest, width = max(len(logits) for logits in found), max(logits.shape[1] for logits in found)
    joined = np.zeros((len(found), longest, width), np.float32)
    for place, logits in zip(joined, found, strict=True):
        place[: len(logits), : logits.shape[1]] = logits
    return joined, np.array([len(logits) for logits in found])
