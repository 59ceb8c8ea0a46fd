"""Text out of audio: batches of nearly one length, long recordings in chunks, results in the order of what came in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bigfoot.audio.chunking import LONGEST_CHUNK, OVERLAP, FrameIds, join_frames, plan_chunks
from bigfoot.audio.files import normalize_waveform
from bigfoot.audio.loudness import Decibels, LoudnessMeter, measure_loudness
from bigfoot.audio.recording import Recording, Source, cut_chunks, measure_moments, normalize_part, open_recording
from bigfoot.errors import AudioError, ModelError
from bigfoot.runtime.batching import pad_batch, plan_batches
from bigfoot.runtime.engine import Engine
from bigfoot.runtime.lanes import map_in_lanes
from bigfoot.runtime.metadata import StreamsError
from bigfoot.runtime.onnx_engine import OnnxEngine
from bigfoot.runtime.stream_engine import StreamEngine
from bigfoot.runtime.timing import Clock, read_words
from bigfoot.runtime.transcript import Transcript
from bigfoot.types import Samples, Seconds

BATCH_SECONDS: Seconds = 10.0
"""More in a pass is no faster on a CPU: seconds of audio fill its caches many times over."""
# Sources that are read together: enough to find some of one length, few enough that text comes soon.
_WINDOW = 64

FrameDecoder = Callable[[npt.NDArray[np.float32]], FrameIds]
"""From the logits of an utterance, (T, V), to the token of every frame, (T,)."""
OnError = Callable[[AudioError], None]
OnProgress = Callable[[Seconds], None]


class Transcriber:
    """A model that is opened once and then transcribes, greedily where nothing else is asked for.

    Args:
        model: an ``.onnx``, ``.xml``, ``.tflite`` or ``.pte`` file that ``bigfoot export`` wrote, a folder that holds
            just one ``.onnx``, or an ``Engine``.
        threads: all of the machine's by default; they share the only recording, or take one each. Set once: an engine
            that is given has its own.
        chunk_seconds: longer recordings are cut into chunks that overlap; 10 or more.
        batch_seconds: most audio of a batch, padding included; a longer recording goes alone.
        decode: finds the tokens, such as a beam search with hot words (``bigfoot.decoding.frames``).

    Attributes:
        engine: that computes.
        facts: of its model.

    Raises:
        ModelError: the file is missing, damaged, or not of bigfoot's making.
        MissingExtraError: ONNX Runtime, or OpenVINO for an ``.xml``, is not installed.
        ValueError: a number that makes no sense.

    Examples:
        >>> transcriber = Transcriber("model.onnx", threads=1)  # doctest: +SKIP
        >>> [result.text for result in transcriber.transcribe(["a.wav", "b.flac"])]  # doctest: +SKIP
        ['ONE TWO', 'SEVEN']
    """

    def __init__(
        self,
        model: str | Path | Engine,
        threads: int | None = None,
        *,
        chunk_seconds: Seconds = LONGEST_CHUNK,
        batch_seconds: Seconds = BATCH_SECONDS,
        decode: FrameDecoder | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads should be 1 or more, and is {threads}")
        if chunk_seconds < 2.5 * OVERLAP:
            raise ValueError(f"chunk_seconds should be {2.5 * OVERLAP:g} or more, and is {chunk_seconds:g}")
        self.engine = open_engine(model, threads) if isinstance(model, str | Path) else model
        self.facts = self.engine.facts
        self._decode = decode or _decode_greedily
        self._longest = min(round(chunk_seconds * self.facts.sample_rate), self.facts.longest or sys.maxsize)
        self._most_samples = round(batch_seconds * self.facts.sample_rate) if self.facts.batch_invariant else 0

    def transcribe(self, sources: Iterable[Source], on_error: OnError | None = None) -> list[Transcript]:
        """Transcribe recordings.

        Args:
            sources: files of any rate and channel count, or mono float arrays (N,) at the model's rate.
            on_error: called with the error of each that cannot be read; without it the error is raised.

        Returns:
            A result for each, in order; of one that cannot be read, with its ``error`` and no words.

        Raises:
            AudioError: something cannot be read, and there is no ``on_error``.
            ModelError: the model fails.
        """
        return list(self.iterate(sources, on_error))

    def iterate(
        self, sources: Iterable[Source], on_error: OnError | None = None, on_progress: OnProgress | None = None
    ) -> Iterator[Transcript]:
        """Transcribe recordings, and yield each result as soon as those before it are there.

        Args:
            sources: see ``transcribe``; taken up a few dozen at a time.
            on_error: see ``transcribe``.
            on_progress: called with the seconds of audio just transcribed, from any thread.

        Yields:
            A result for each, in order.

        Raises:
            AudioError: see ``transcribe``.
            ModelError: see ``transcribe``.
        """
        numbered, report = enumerate(sources), on_progress or (lambda _: None)
        while window := list(islice(numbered, _WINDOW)):
            found: dict[int, Transcript] = {}
            wanted = iter([number for number, _ in window])
            expected = next(wanted, None)
            for number, result in self._transcribe_window(window, on_error, report):
                found[number] = result
                while expected in found:
                    yield found.pop(expected)
                    expected = next(wanted, None)

    def _transcribe_window(
        self, window: Sequence[tuple[int, Source]], on_error: OnError | None, report: OnProgress
    ) -> Iterator[tuple[int, Transcript]]:
        """Results of a window with their numbers, in the order in which they come to be."""
        recordings: dict[int, Recording] = {}
        for number, source in window:
            try:
                recordings[number] = open_recording(source, number, self.facts.sample_rate)
            except AudioError as error:
                yield number, _failed(error, on_error)
        numbers = list(recordings)
        batches = plan_batches([recordings[number].num_samples for number in numbers], self._most_samples)
        # Starting with the batch of the first that is waited for.
        jobs = sorted([numbers[place] for place in batch] for batch in map(sorted, batches))
        alone = len(jobs) == 1
        transcribe = partial(self._transcribe_job, recordings, alone=alone, report=report)
        for results in map_in_lanes(transcribe, jobs, 1 if alone else self.engine.lanes):
            for number, result in results.items():
                yield number, _failed(result, on_error) if isinstance(result, AudioError) else result

    def _transcribe_job(
        self, recordings: Mapping[int, Recording], batch: Sequence[int], *, alone: bool, report: OnProgress
    ) -> dict[int, Transcript | AudioError]:
        """Read and transcribe a batch; long recordings go by themselves."""
        found: dict[int, Transcript | AudioError] = {}
        waves: dict[int, Samples] = {}
        for number in batch:
            try:
                if recordings[number].num_samples > self._longest:
                    found[number] = self._transcribe_long(recordings[number], alone, report)
                else:
                    waves[number] = recordings[number].load()
            except AudioError as error:
                found[number] = error
        for number, ids in self._infer_batch(waves, alone).items():
            wave, rate = waves[number], self.facts.sample_rate
            report(len(wave) / rate)
            found[number] = self._read(recordings[number].name, ids, len(wave), measure_loudness(wave, rate))
        return found

    def _infer_batch(self, waves: Mapping[int, Samples], alone: bool) -> dict[int, FrameIds]:
        """Best tokens by number; what is too short for a frame has none."""
        found = {number: np.zeros(0, dtype=np.int64) for number in waves}
        numbers = [number for number, wave in waves.items() if len(wave) >= self.facts.receptive_field]
        if numbers:
            inputs = [normalize_waveform(waves[n]) if self.facts.normalizes else waves[n] for n in numbers]
            found.update(zip(numbers, self._compute(inputs, alone), strict=True))
        return found

    def _transcribe_long(self, recording: Recording, alone: bool, report: OnProgress) -> Transcript:
        """Transcribe a recording in chunks, normalized with the statistics of the whole recording."""
        rate, stride = self.facts.sample_rate, self.facts.stride
        meter = LoudnessMeter(rate)
        moments = measure_moments(meter.tap(recording.blocks()))
        chunks = plan_chunks(moments.num_samples, stride, self._longest, round(OVERLAP * rate))
        waves = cut_chunks(recording.blocks(), chunks)

        def pieces() -> Iterator[tuple[int, FrameIds]]:
            end = 0
            for chunk, wave in zip(chunks, waves, strict=True):
                if self.facts.normalizes:
                    wave = normalize_part(wave, moments)
                yield chunk.start_frame, self._compute([wave], alone)[0]
                report((chunk.end - end) / rate)
                end = chunk.end

        return self._read(recording.name, join_frames(pieces()), moments.num_samples, meter.decibels())

    def _compute(self, waves: Sequence[Samples], alone: bool) -> list[FrameIds]:
        """Best token of every real frame."""
        output = self.engine.run(*pad_batch(waves), alone=alone)
        rows = [logits[:frames] for logits, frames in zip(output.logits, output.frames, strict=True)]
        if not all(np.isfinite(row).all() for row in rows):
            raise ModelError(f"{self.facts.name}: gives logits that are no numbers; its weights are damaged")
        return [self._decode(row) for row in rows]

    def _read(self, name: str, ids: FrameIds, num_samples: int, loudness: Decibels) -> Transcript:
        rate = self.facts.sample_rate
        clock = Clock(self.facts.stride / rate, num_samples / rate, loudness)
        return Transcript(name, clock.seconds, tuple(read_words(ids.tolist(), self.facts.tokenizer, clock)))


def open_engine(model: str | Path, threads: int | None = None) -> Engine:
    """Open an exported file by the runtime that it was written for.

    Args:
        model: see ``Transcriber``.
        threads: see there.

    Raises:
        ModelError: see there.
        MissingExtraError: see there.
    """
    suffix = Path(model).suffix
    if suffix == ".xml":
        from bigfoot.runtime.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(model, threads)
    if suffix in (".tflite", ".pte"):
        from bigfoot.runtime.window_engine import WindowEngine

        return WindowEngine(model, threads)
    try:
        return OnnxEngine(model, threads)
    except StreamsError:
        return StreamEngine(model, threads)


def _decode_greedily(logits: npt.NDArray[np.float32]) -> FrameIds:
    return logits.argmax(axis=-1)


def _failed(error: AudioError, on_error: OnError | None) -> Transcript:
    if on_error is None:
        raise error
    on_error(error)
    return Transcript(error.path, error=error.reason)
