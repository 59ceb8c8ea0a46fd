"""Align texts with recordings: words and their characters or phonemes, with times and confidences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bigfoot.alignment.emissions import Columns, Emissions, OnProgress, compute_emissions
from bigfoot.alignment.lag import Lag
from bigfoot.alignment.plan import ANY, PlannedWord, TextPlan, TextPlanner
from bigfoot.alignment.times import FramedWord, Interval, time_tokens, time_words
from bigfoot.audio.recording import Recording, Source, open_recording
from bigfoot.decoding.alignment import count_needed_frames
from bigfoot.decoding.viterbi import find_path
from bigfoot.errors import AudioError, DataError
from bigfoot.runtime.engine import Engine
from bigfoot.runtime.lanes import map_in_lanes
from bigfoot.runtime.timing import Clock
from bigfoot.runtime.transcriber import open_engine
from bigfoot.types import Seconds

_Filled = tuple[int, int, int]
"""Of untranscribed speech: the label before which it stands, its first frame, and the frame behind its last."""
UNLIKELY = 0.2
"""Below this mean confidence a text is hardly that of its recording."""


@dataclass(frozen=True)
class AlignedPart:
    """A character, phoneme or piece of a word.

    Args:
        text: as the vocabulary writes it; ``*`` for what it lacks.
        start: in seconds from the start of the recording.
        end: likewise.
        confidence: mean probability of its token over its frames, 0 to 1; None for what the vocabulary lacks.
    """

    text: str
    start: Seconds
    end: Seconds
    confidence: float | None


@dataclass(frozen=True)
class AlignedWord(AlignedPart):
    """A word of the text.

    Args:
        parts: its characters, phonemes or pieces.
        joined: no space stands between it and the word before.
    """

    parts: tuple[AlignedPart, ...] = ()
    joined: bool = False


@dataclass(frozen=True)
class Alignment:
    """A text on its recording.

    Args:
        source: name of the recording.
        seconds: its length.
        text: that was aligned.
        words: in order, none over the next.
        unit: what the parts of words are: ``characters``, ``phonemes`` or ``pieces``.
        untranscribed: stretches of speech that are not in the text, where it leaves room for them.
        unknown: words with characters that the vocabulary lacks.
        error: why there is no alignment, or None.
    """

    source: str
    seconds: Seconds = 0.0
    text: str = ""
    words: tuple[AlignedWord, ...] = ()
    unit: str = "characters"
    untranscribed: tuple[Interval, ...] = ()
    unknown: tuple[str, ...] = ()
    error: str | None = None

    @property
    def confidence(self) -> float | None:
        """Geometric mean of the confidences of the words; None where none has one."""
        found = [word.confidence for word in self.words if word.confidence is not None]
        return float(np.exp(np.mean(np.log(np.maximum(found, 1e-30))))) if found else None

    def warnings(self) -> Iterator[str]:
        """Yield what a user should know about it, a line each."""
        if self.unknown:
            named = ", ".join(map(repr, dict.fromkeys(self.unknown[:5])))
            more = ", ..." if len(self.unknown) > 5 else ""
            yield (
                f"{len(self.unknown)} words with characters outside the vocabulary ({named}{more}) have the time that "
                "their neighbours leave; write numbers out for exact times"
            )
        if self.confidence is not None and self.confidence < UNLIKELY:
            yield f"the text hardly fits (confidence {self.confidence:.2f}); is it the text of this recording?"


class Aligner:
    """A model that is opened once and then aligns.

    Args:
        model: an ``.onnx`` or ``.xml`` file that ``bigfoot export`` wrote, or an ``Engine``.
        threads: all of the machine's by default.
        lag: of the model, see ``bigfoot.alignment.calibrate``; by default words are timed by loudness alone.
        voice: see ``TextPlanner``.
        open_everywhere: see ``TextPlanner``.

    Examples:
        >>> aligner = Aligner("model.onnx")  # doctest: +SKIP
        >>> [(word.text, word.start) for word in aligner.align("a.wav", "one two").words]  # doctest: +SKIP
        [('one', 0.21), ('two', 0.58)]
    """

    def __init__(
        self,
        model: str | Path | Engine,
        threads: int | None = None,
        *,
        lag: Lag | None = None,
        voice: str | None = None,
        open_everywhere: bool = False,
    ) -> None:
        self.engine = open_engine(model, threads) if isinstance(model, str | Path) else model
        self.lag = lag
        tokenizer = self.engine.facts.tokenizer
        self._planner = TextPlanner(tokenizer, voice, open_everywhere=open_everywhere)
        self.unit = self._planner.unit

    def align(
        self, source: Source | Recording, text: str, on_progress: OnProgress | None = None, *, alone: bool = True
    ) -> Alignment:
        """Align a text with its recording.

        Args:
            source: a file of any rate and channel count, an array (N,) at the model's rate, or a stretch of a file.
            text: what is spoken in it; a ``*`` between spaces stands for speech that is not transcribed.
            on_progress: called with the seconds of audio just computed.
            alone: no other recording is aligned at the same time.

        Raises:
            AudioError: the recording cannot be read.
            DataError: the text cannot be aligned, or is too long for the recording.
            ModelError: the model fails.
        """
        name, seconds, reader, stretches = self._find(source, text, on_progress or (lambda _: None), alone)
        words, untranscribed = reader.read(stretches)
        plan = reader.plan
        return Alignment(name, seconds, text, words, plan.unit, untranscribed, tuple(plan.unknown))

    def frame_words(self, source: Source, text: str) -> list[tuple[Seconds, Seconds, str, str, float]]:
        """Return where the frames of each word start and end, its first and last token, and its confidence.

        Args:
            source: see ``align``.
            text: see ``align``.
        """
        return list(self._find(source, text, lambda _: None, alone=True)[2].frames())

    def _find(
        self, source: Source | Recording, text: str, report: OnProgress, alone: bool
    ) -> tuple[str, Seconds, _Reader, list[_Filled]]:
        facts = self.engine.facts
        recording = source if isinstance(source, Recording) else open_recording(source, 0, facts.sample_rate)
        plan = self._planner.plan(text)
        columns = Columns(plan, facts.tokenizer.blank_id)
        with compute_emissions(self.engine, recording, columns, report, alone=alone) as found:
            reader, stretches = self._trace(plan, columns, found)
            return recording.name, found.seconds, reader, stretches

    def _trace(self, plan: TextPlan, columns: Columns, found: Emissions) -> tuple[_Reader, list[_Filled]]:
        chain, facts = columns.chain(), self.engine.facts
        needed, frames = count_needed_frames(chain.columns[1::2].tolist()), len(found.log_probs)
        path = find_path(found.log_probs, chain) if frames >= needed else None
        if path is None:
            milliseconds = 1000 * facts.stride / facts.sample_rate
            raise DataError(
                f"its text needs {needed} frames of {milliseconds:.0f} ms or more, and the recording has {frames}: "
                "is it the text of this recording?"
            )
        bounds = np.searchsorted(path, np.arange(len(chain.columns) + 1))
        sums = np.array([
            found.log_probs[begin:end, column].mean(dtype=np.float64)
            for begin, end, column in zip(bounds[1:-1:2], bounds[2::2], chain.columns[1::2], strict=True)
        ])  # fmt: skip
        clock = Clock(facts.stride / facts.sample_rate, found.seconds, found.loudness)
        reader = _Reader(self, plan, bounds, sums, clock)
        return reader, list(_find_stretches(path, plan, columns.is_filled(found.log_probs)))


def _find_stretches(path: np.ndarray, plan: TextPlan, filled: np.ndarray) -> Iterator[_Filled]:
    """Untranscribed speech: the label before which it stands, its first frame, and the frame behind its last."""
    for gap in sorted(plan.open_gaps):
        begin, end = np.searchsorted(path, [2 * gap, 2 * gap + 1])
        inside = np.flatnonzero(filled[begin:end])
        if len(inside):
            yield gap, int(begin + inside[0]), int(begin + inside[-1]) + 1


class _Reader:
    """Reads an alignment of frames as words with times."""

    def __init__(
        self, aligner: Aligner, plan: TextPlan, bounds: np.ndarray, log_probs: np.ndarray, clock: Clock
    ) -> None:
        self._lag, self.plan, self._clock = aligner.lag, plan, clock
        self._pieces = aligner.engine.facts.tokenizer.pieces
        self._begins, self._ends = bounds[1:-1:2].tolist(), bounds[2::2].tolist()
        self._log_probs = log_probs

    def read(self, stretches: Sequence[_Filled]) -> tuple[tuple[AlignedWord, ...], tuple[Interval, ...]]:
        """Words, and untranscribed stretches, which take their time as words do."""
        items: list[tuple[int, PlannedWord | None, FramedWord]] = [
            (word.first, word, self._frame(word)) for word in self.plan.words
        ]
        items += [(gap, None, FramedWord(begin, end, "", "")) for gap, begin, end in stretches]
        items.sort(key=lambda item: (item[0], item[1] is not None, item[2].start_frame))
        times = time_words([framed for _, _, framed in items], self._clock, self._lag)
        found = list(zip((word for _, word, _ in items), times, strict=True))
        words = tuple(self._word(word, interval) for word, interval in found if word is not None)
        return words, tuple(interval for word, interval in found if word is None)

    def frames(self) -> Iterator[tuple[Seconds, Seconds, str, str, float]]:
        """See ``Aligner.frame_words``."""
        for word in self.plan.words:
            framed, frame = self._frame(word), self._clock.frame
            confidence = float(np.exp(self._log_probs[word.first : word.last].mean()))
            start, end = framed.start_frame * frame, framed.end_frame * frame
            yield start, end, framed.first_token, framed.last_token, confidence

    def _frame(self, word: PlannedWord) -> FramedWord:
        first, last = word.first, word.last - 1
        return FramedWord(self._begins[first], self._ends[last], self._name(first), self._name(last))

    def _name(self, label: int) -> str:
        token = self.plan.labels[label]
        return "" if token == ANY else self._pieces[token]

    def _word(self, word: PlannedWord, interval: Interval) -> AlignedWord:
        labels = range(word.first, word.last)
        known = [self._log_probs[label] for label in labels if self.plan.labels[label] != ANY]
        confidence = float(np.exp(np.mean(known))) if len(known) == len(labels) else None
        frame, lag = self._clock.frame, self._lag
        begins = [self._begins[label] * frame - (lag.before(self._name(label)) if lag else 0.0) for label in labels]
        parts = [
            AlignedPart(self._name(label).strip() or "*", start, end, self._confidence(label))
            for label, (start, end) in zip(labels, time_tokens(begins, interval), strict=True)
        ]
        return AlignedWord(word.text, *interval, confidence, tuple(parts), word.joined)

    def _confidence(self, label: int) -> float | None:
        return None if self.plan.labels[label] == ANY else float(np.exp(self._log_probs[label]))


def align_many(
    aligner: Aligner, items: Sequence[tuple[Recording | AudioError, str]], on_progress: OnProgress
) -> Iterator[Alignment]:
    """Align recordings, some at a time, and yield each as soon as those before it are there.

    Args:
        aligner: the model.
        items: recordings or why there is none, each with its text.
        on_progress: called with the seconds of audio just computed, from any thread.

    Yields:
        An alignment for each, with its ``error`` where there is none.
    """
    alone = len(items) == 1

    def align(item: tuple[Recording | AudioError, str]) -> Alignment:
        recording, text = item
        if isinstance(recording, AudioError):
            return Alignment(recording.path, error=recording.reason)
        try:
            return aligner.align(recording, text, on_progress, alone=alone)
        except AudioError as error:
            return Alignment(recording.name, error=error.reason)
        except DataError as error:
            return Alignment(recording.name, error=str(error))

    yield from map_in_lanes(align, items, 1 if alone else aligner.engine.lanes)
