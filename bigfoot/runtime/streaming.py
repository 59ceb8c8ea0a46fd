"""Text while audio comes: what may still change, and what is final after a pause."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bigfoot.audio.loudness import measure_loudness
from bigfoot.runtime.frame_stream import Floats
from bigfoot.runtime.segments import Segment
from bigfoot.runtime.stream_engine import StreamEngine
from bigfoot.runtime.timing import Clock, read_words
from bigfoot.types import Samples, Seconds

PAUSE: Seconds = 0.8
"""Silence after which what came before is final."""
LONGEST: Seconds = 20.0
"""Speech after which the next gap between words is an end too."""
_LEAD: Seconds = 1.0
"""Audio kept before the first word, to find its start."""


class StreamUpdate(NamedTuple):
    """What is new.

    Args:
        partial: text after the last final segment; it may still change.
        final: segments that ended, with words and their times from the start of the stream.
    """

    partial: str
    final: tuple[Segment, ...]


class StreamingTranscriber:
    """Transcribes one stream of audio, greedily.

    Frames are those of the model over the whole recording, whatever the cuts. Streams share an engine; each has a
    transcriber of its own, of some megabytes, that needs no closing. Not for several threads at once.

    Args:
        model: a file of ``bigfoot export --to streaming``, or an engine.
        pause: silence that ends a segment, 0.1 or more.
        longest: speech after which any gap between words does; twice as much ends it in a word.

    Raises:
        ModelError: the file is missing, damaged, or does not stream.
        MissingExtraError: ONNX Runtime is not installed.
        ValueError: a duration that makes no sense.

    Examples:
        >>> transcriber = StreamingTranscriber("model.onnx")  # doctest: +SKIP
        >>> for samples in microphone:  # doctest: +SKIP
        ...     partial, final = transcriber.feed(samples)
        >>> partial, final = transcriber.flush()  # doctest: +SKIP
    """

    def __init__(
        self, model: str | Path | StreamEngine, *, pause: Seconds = PAUSE, longest: Seconds = LONGEST
    ) -> None:
        if not (pause >= 0.1 and pause <= longest):
            raise ValueError(f"pause should be from 0.1 to longest, {longest:g}, and is {pause:g}")
        self.engine = StreamEngine(model) if isinstance(model, str | Path) else model
        self.facts = self.engine.facts
        self._stream = self.engine.open_stream()
        self._tokenizer, self._frame = self.facts.tokenizer, self.facts.stride / self.facts.sample_rate
        self._pause, self._longest = round(pause / self._frame), round(longest / self._frame)
        self._writes = np.array([bool(piece.strip()) for piece in self._tokenizer.pieces])
        self._writes[self._tokenizer.blank_id] = False
        self._start()

    def _start(self) -> None:
        self._audio = np.zeros(0, np.float32)
        self._first, self._held = 0, self._tokenizer.blank_id
        self._open()

    def _open(self) -> None:
        """Start a segment."""
        self._ids: list[int] = []
        self._written: tuple[int, int] | None = None  # first and last frame with a token

    @property
    def delay(self) -> Seconds:
        """By how much text is behind the audio at most, without the time to compute: a chunk and a frame."""
        return (self.engine.stream.chunk * self.facts.stride + self.facts.receptive_field) / self.facts.sample_rate

    def feed(self, samples: Samples) -> StreamUpdate:
        """Take the next samples.

        Args:
            samples: (N,) of any length, floats from -1 to 1 at the model's rate, ``facts.sample_rate``.

        Returns:
            What is new.

        Raises:
            AudioError: they are no finite floats of one channel; the stream goes on without them.
            ModelError: the model fails.
        """
        logits = self._stream.feed(samples)
        self._audio = np.concatenate([self._audio, np.asarray(samples, np.float32)])
        return self._update(tuple(self._read(logits)))

    def flush(self) -> StreamUpdate:
        """End the stream: all that is left is final, and the next samples start another stream.

        Returns:
            What is new; the partial text is empty.
        """
        final = [*self._read(self._stream.flush()), *self._close()]
        self._start()
        return StreamUpdate("", tuple(final))

    def _update(self, final: tuple[Segment, ...]) -> StreamUpdate:
        return StreamUpdate(self._tokenizer.decode_ctc(self._ids), final)

    def _read(self, logits: Floats) -> Iterator[Segment]:
        """Take frames, and yield the segments that end with one of them."""
        for token in logits.argmax(-1).tolist() if logits.size else ():
            # A token that a segment ended in is not written again in the next.
            self._held = token if token == self._held else self._tokenizer.blank_id
            self._ids.append(self._tokenizer.blank_id if token == self._held else token)
            writes = bool(self._writes[self._ids[-1]])
            if writes:
                last = len(self._ids) - 1
                self._written = (last if self._written is None else self._written[0]), last
            if self._written is None:
                self._forget_lead()
            elif self._is_over(*self._written, writes):
                self._held = token
                yield from self._close()

    def _is_over(self, first: int, last: int, writes: bool) -> bool:
        frames = len(self._ids) - first
        paused = len(self._ids) - 1 - last >= self._pause
        return paused or (frames >= self._longest and not writes) or frames >= 2 * self._longest

    def _forget_lead(self) -> None:
        lead = round(_LEAD / self._frame)
        if len(self._ids) > 2 * lead:
            self._advance(len(self._ids) - lead)
            self._ids = self._ids[-lead:]

    def _advance(self, frames: int) -> None:
        self._first += frames
        self._audio = self._audio[frames * self.facts.stride :]

    def _close(self) -> Iterator[Segment]:
        """Yield what was written since the last segment, if anything was."""
        rate = self.facts.sample_rate
        clock = Clock(self._frame, len(self._audio) / rate, measure_loudness(self._audio, rate))
        offset = self._first * self._frame
        words = [
            replace(word, start=round(word.start + offset, 3), end=round(word.end + offset, 3))
            for word in read_words(self._ids, self._tokenizer, clock)
        ]
        self._advance(len(self._ids))
        self._open()
        if words:
            yield Segment(tuple(words))
