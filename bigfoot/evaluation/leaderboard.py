"""Evaluate models as the open ASR leaderboard does: one normalizer for all, and the time of computing.

The leaderboard (Srivastav et al. 2025, arXiv 2510.06961) compares models of any vocabulary by Whisper's English
normalizer, and states RTFx: seconds of audio per second of computing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bigfoot.data.batch import CutSource, LoadedUtterance
from bigfoot.data.batches import longest_first
from bigfoot.measure.error_rate import ErrorRate, measure_error_rate
from bigfoot.progress import AUDIO, track
from bigfoot.runtime.transcriber import Transcriber
from bigfoot.text.normalizers import find_normalizer
from bigfoot.types import Seconds

_READ_TOGETHER = 32


@dataclass(frozen=True)
class Answer:
    """A line of the leaderboard's result files, under its names.

    Args:
        audio_filepath: name of the utterance.
        duration: of its audio, in seconds.
        time: of computing, in seconds: its share of its batch by length; reading the audio is not counted.
        text: reference.
        pred_text: hypothesis.
        speaker: who speaks, for the interval; the leaderboard reads no such field.
    """

    audio_filepath: str
    duration: Seconds
    time: Seconds
    text: str
    pred_text: str
    speaker: str


@dataclass(frozen=True)
class Score:
    """Result of a model on a corpus.

    Args:
        rate: of the normalized texts.
        audio_seconds: of all utterances.
        computing_seconds: for them.
    """

    rate: ErrorRate
    audio_seconds: Seconds
    computing_seconds: Seconds

    @property
    def rtfx(self) -> float | None:
        """Seconds of audio per second of computing; None without audio."""
        return self.audio_seconds / self.computing_seconds if self.computing_seconds else None


def transcribe_timed(transcriber: Transcriber, manifest: Path, doing: str) -> list[Answer]:
    """Transcribe a split, longest utterances first, and time it.

    Args:
        transcriber: the model with its decoding.
        manifest: lhotse manifest of the split; what has no transcript is passed over.
        doing: description of the progress.

    Raises:
        AudioError: a file cannot be read.
        ModelError: the model fails.
    """
    sources = [source for source in map(CutSource.of, longest_first(manifest)) if source.text]
    utterances = (source.load(transcriber.facts.sample_rate) for source in sources)
    if sources:  # The first pass of a session is slower than all others.
        transcriber.transcribe([sources[-1].load(transcriber.facts.sample_rate).samples])
    answers = _answers(transcriber, utterances)
    total = sum(source.seconds for source in sources)
    return list(track(answers, doing, total, AUDIO, lambda answer: answer.duration))


def _answers(transcriber: Transcriber, utterances: Iterator[LoadedUtterance]) -> Iterator[Answer]:
    rate = transcriber.facts.sample_rate
    while chosen := list(islice(utterances, _READ_TOGETHER)):
        start = time.perf_counter()
        found = transcriber.transcribe([item.samples for item in chosen])
        took = time.perf_counter() - start
        samples = sum(len(item.samples) for item in chosen)
        for item, transcript in zip(chosen, found, strict=True):
            share = took * len(item.samples) / samples
            yield Answer(item.id, len(item.samples) / rate, share, item.text, transcript.text, item.speaker)


def score_answers(answers: Sequence[Answer], normalizer: str, *, samples: int, seed: int) -> Score:
    """Count the errors of normalized texts; references that the normalizer empties (fillers) are left out.

    Args:
        answers: of ``transcribe_timed``.
        normalizer: one of ``NORMALIZERS``.
        samples: bootstrap samples of the interval.
        seed: of them.

    Raises:
        MissingExtraError: the normalizer's package is not installed.

    Examples:
        >>> filler = Answer("a", 2.0, 0.5, "UM", "THE", speaker="ann")
        >>> spoken = Answer("b", 2.0, 0.5, "It's Mr. Day", "it is mister day", speaker="ann")
        >>> score = score_answers([filler, spoken], "english", samples=10, seed=0)
        >>> score.rate.num_words, score.rate.wer, score.rtfx
        (4, 0.0, 4.0)
    """
    normalize = find_normalizer(normalizer, None)
    compared = [(normalize(each.text), normalize(each.pred_text), each.speaker) for each in answers]
    kept = [row for row in compared if row[0]]
    references, hypotheses, speakers = ([row[column] for row in kept] for column in range(3))
    rate = measure_error_rate(references, hypotheses, speakers, samples=samples, seed=seed)
    return Score(rate, sum(each.duration for each in answers), sum(each.time for each in answers))
