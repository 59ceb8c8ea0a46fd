"""Shapes of the nested entries of ``report.json``, checked when a report is loaded.

Keys of other versions are allowed and ignored; a key of this version has its type or is null.
"""

from __future__ import annotations

from typing import Any, TypedDict

_Number = float | None
"""A metric that is not finite is null in JSON."""
_Metrics = dict[str, _Number]


class _Bin(TypedDict):
    """Of ``reliability``."""

    confidence: float
    accuracy: float
    count: int


class _Point(TypedDict):
    """Of ``projection``."""

    x: float
    y: float
    label: str


class _Attention(TypedDict):
    """Of an utterance."""

    id: str
    seconds: float
    peaks: list[float]
    shares: list[float]


class _Answer(TypedDict):
    """Of the worst answers of a task model."""

    id: str
    truth: str
    answer: str
    scores: _Metrics
    audio: str


class _SpokenAnswer(_Answer, total=False):
    speaker: str | None


class _Shown(TypedDict, total=False):
    """Figures and answers of a task model."""

    reliability: list[_Bin] | None
    projection: list[_Point] | None
    attention: list[_Attention] | None
    worst: list[_SpokenAnswer] | None


class _BySpeaker(TypedDict, total=False):
    """Scores of one answer a speaker."""

    name: str | None
    metric: str | None
    metrics: _Metrics | None
    interval: list[_Number] | None
    num_speakers: int
    floors: dict[str, _Metrics] | None
    floor_intervals: dict[str, list[_Number]] | None
    gain: list[_Number] | None


class _Answers(TypedDict):
    """Answers to the utterances of a fold; numbers that are not known are NaN."""

    ids: list[str]
    speakers: list[str]
    targets: list[list[float]]
    scores: list[list[float]]


class TaskEntry(TypedDict, total=False):
    """Of ``Report.tasks``."""

    name: str | None
    split: str | None
    kind: str | None
    labels: list[str] | None
    metric: str | None
    metrics: _Metrics | None
    interval: list[_Number] | None
    per_class: dict[str, _Metrics] | None
    confusion: list[list[int]] | None
    floors: dict[str, _Metrics] | None
    floor_intervals: dict[str, list[_Number]] | None
    gain: list[_Number] | None
    by_speaker: _BySpeaker | None
    answers: _Answers | None
    floor_answers: dict[str, _Answers] | None
    shown: _Shown | None


class WorstEntry(TypedDict, total=False):
    """Of ``Report.worst``."""

    split: str
    model: str | None
    id: str
    speaker: str | None
    reference: str
    hypotheses: dict[str, str]
    errors: int
    audio: str


class _Example(TypedDict):
    id: str
    task: str
    prompt: str
    answer: str
    prediction: str


class ExampleEntry(_Example, total=False):
    """Of ``Report.examples``."""

    metadata: dict[str, Any] | None
    scores: _Metrics | None
    sound: str | None


class SkippedEntry(TypedDict, total=False):
    """Of ``Report.skipped``."""

    split: str | None
    id: str | None
    path: str | None
    reason: str | None


ENTRIES = {
    "tasks": list[TaskEntry],
    "worst": list[WorstEntry],
    "examples": list[ExampleEntry],
    "skipped": list[SkippedEntry],
}
"""Types of the fields of a report that are lists of entries."""
