"""What transcribes one stream: samples in, text that may still change and text that will not out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from bigfoot.runtime.stream_engine import StreamEngine
from bigfoot.runtime.streaming import StreamingTranscriber, StreamUpdate
from bigfoot.runtime.transcriber import Transcriber
from bigfoot.runtime.words import Word, join_words
from bigfoot.types import Hertz, Samples, Seconds

_PERIOD: Seconds = 1.0
"""New audio after which an utterance is computed again."""
_PAUSE: Seconds = 0.8
"""Silence behind a word that ends an utterance."""
_LONGEST: Seconds = 20.0
"""Of an utterance that is computed again and again; a longer one is cut between two words."""
_KEPT: Seconds = 0.6
"""Audio kept before what comes next: a word shows some time behind its start."""


@dataclass(frozen=True)
class Update:
    """Text of a stream after some samples.

    Args:
        partial: text behind the last final word, which may still change.
        final: words that are new since the last update and will not change, with times from the start of the stream.
    """

    partial: str
    final: tuple[Word, ...] = ()


class StreamSession(Protocol):
    """State of one stream."""

    def feed(self, samples: Samples) -> Update:
        """Take the next samples of the stream, (N,) at the model's rate, any number of them."""

    def finish(self) -> Update:
        """End the stream: all of its text is final."""


class UtteranceSession:
    """A stream through a model of whole utterances.

    The utterance that is being spoken is computed anew with every second of audio; a pause makes its words final. What
    comes out is the same however the audio was cut on its way.

    Args:
        transcriber: of the model.
    """

    def __init__(self, transcriber: Transcriber) -> None:
        self._transcriber, self._rate = transcriber, transcriber.facts.sample_rate
        self._period = round(_PERIOD * self._rate)
        self._samples = self._waiting = np.zeros(0, dtype=np.float32)
        self._start, self._partial = 0, ""

    def feed(self, samples: Samples) -> Update:
        """Take the next samples; see ``StreamSession``."""
        self._waiting = np.concatenate([self._waiting, samples])
        final: list[Word] = []
        while len(self._waiting) >= self._period:
            self._samples = np.concatenate([self._samples, self._waiting[: self._period]])
            self._waiting = self._waiting[self._period :].copy()
            final += self._advance()
        return Update(self._partial, tuple(final))

    def _advance(self) -> Iterator[Word]:
        """Compute the utterance so far; yield its words that are final."""
        words = self._transcribe()
        count = self._count_final(words)
        self._partial = join_words(words[count:])
        yield from self._shift(words[:count])
        if count or not words:
            end = words[count].start if count < len(words) else len(self._samples) / self._rate
            self._drop(max(words[count - 1].end if count else 0.0, end - _KEPT))

    def finish(self) -> Update:
        """End the stream; see ``StreamSession``."""
        self._samples = np.concatenate([self._samples, self._waiting])
        return Update("", tuple(self._shift(self._transcribe())))

    def _transcribe(self) -> Sequence[Word]:
        return self._transcriber.transcribe([self._samples])[0].words if len(self._samples) else ()

    def _count_final(self, words: Sequence[Word]) -> int:
        """Words before a pause; of an utterance that is too long those before its widest gap."""
        seconds = len(self._samples) / self._rate
        starts = [*(word.start for word in words), seconds][1:]
        gaps = [after - word.end for word, after in zip(words, starts, strict=True)]
        paused = [number for number, gap in enumerate(gaps, 1) if gap >= _PAUSE]
        if paused:
            return paused[-1]
        if seconds < _LONGEST or len(words) < 2:
            return 0
        return 1 + int(np.argmax(gaps[:-1]))

    def _shift(self, words: Sequence[Word]) -> Iterator[Word]:
        start = self._start / self._rate
        for word in words:
            yield replace(word, start=word.start + start, end=word.end + start)

    def _drop(self, seconds: Seconds) -> None:
        count = min(len(self._samples), round(seconds * self._rate))
        # A copy: a view would keep all that came before in memory.
        self._samples, self._start = self._samples[count:].copy(), self._start + count


class ChunkSession:
    """A stream through a model that was trained to stream: each frame is computed once.

    Args:
        transcriber: of the stream alone.
    """

    def __init__(self, transcriber: StreamingTranscriber) -> None:
        self._transcriber = transcriber

    def feed(self, samples: Samples) -> Update:
        """Take the next samples; see ``StreamSession``."""
        return _as_update(self._transcriber.feed(samples))

    def finish(self) -> Update:
        """End the stream; see ``StreamSession``."""
        return _as_update(self._transcriber.flush())


def _as_update(update: StreamUpdate) -> Update:
    return Update(update.partial, tuple(word for segment in update.final for word in segment.words))


def open_session(transcriber: Transcriber) -> StreamSession:
    """Start a stream, chunk by chunk where the model was exported to stream.

    Args:
        transcriber: of the model.
    """
    engine = transcriber.engine
    if isinstance(engine, StreamEngine):
        return ChunkSession(StreamingTranscriber(engine))
    return UtteranceSession(transcriber)


class Resampler:
    """Resamples a stream of 16-bit samples.

    Args:
        source: rate of the samples that come in.
        target: rate of the model.

    Attributes:
        source: rate of the samples that come in.

    Examples:
        >>> resampler = Resampler(8_000, 16_000)
        >>> len(resampler.feed(bytes(16_000))) + len(resampler.finish())
        16000
    """

    def __init__(self, source: Hertz, target: Hertz) -> None:
        import soxr

        self.source = source
        self._stream = None if source == target else soxr.ResampleStream(source, target, 1, dtype="float32")
        self._odd = b""

    def feed(self, content: bytes) -> Samples:
        """Return samples (N,) of the next bytes: little-endian, signed, mono; an odd one waits for its other half."""
        content = self._odd + content
        whole = len(content) // 2 * 2
        self._odd = content[whole:]
        samples = np.frombuffer(content[:whole], dtype="<i2").astype(np.float32) / np.float32(32_768)
        return self._resample(samples, last=False)

    def finish(self) -> Samples:
        """Return what the filter still holds."""
        return self._resample(np.zeros(0, dtype=np.float32), last=True)

    def _resample(self, samples: Samples, *, last: bool) -> Samples:
        if self._stream is None:
            return samples
        found: Samples = self._stream.resample_chunk(samples, last=last)
        return found
