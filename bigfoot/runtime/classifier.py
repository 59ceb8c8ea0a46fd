"""Classify recordings with an exported task model, without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bigfoot.audio.pauses import LONGEST_PIECE, cut_at_pauses
from bigfoot.audio.recording import Recording, Source, normalize_part, open_recording
from bigfoot.errors import AudioError, ModelError
from bigfoot.runtime.batching import pad_batch
from bigfoot.runtime.metadata import read_task
from bigfoot.runtime.onnx_engine import find_onnx, open_session
from bigfoot.runtime.task_answers import choose_labels, compute_scores
from bigfoot.types import Seconds


@dataclass(frozen=True)
class Classification:
    """Answer to a recording.

    Args:
        name: of the recording.
        seconds: its length.
        labels: what it is: one class or rating, or several labels; none of a regression.
        scores: probabilities by label, or numbers; the largest probability first, ratings and numbers in their order.
        error: why there is none, where it cannot be read.
    """

    name: str
    seconds: Seconds = 0.0
    labels: list[str] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        if self.error is not None:
            return {"name": self.name, "error": self.error}
        return {"name": self.name, "seconds": round(self.seconds, 3), "labels": self.labels, "scores": self.scores}


class Classifier:
    """A task model that is opened once and then answers, one recording at a time.

    Args:
        model: an ``.onnx`` file that ``bigfoot export`` wrote of a task model, or a folder that holds just one.
        threads: all of the machine's by default.
        top: most scores of classes or labels in an answer; all by default, and always of ratings and numbers.

    Raises:
        ModelError: the file is missing, damaged, or answers no task.
        MissingExtraError: ONNX Runtime is not installed.

    Examples:
        >>> Classifier("model.onnx").classify(["a.wav"])[0].labels  # doctest: +SKIP
        ['seven']
    """

    def __init__(self, model: str | Path, threads: int | None = None, top: int | None = None) -> None:
        self._top = top
        path = find_onnx(model)
        self._session = open_session(path, threads or 0)
        self.facts, self.task = read_task(self._session.get_modelmeta().custom_metadata_map, str(path))
        signature = {item.name: len(item.shape) for item in self._session.get_outputs()}
        if signature.get("logits") != 2:
            raise ModelError(f"{path}: not the graph that bigfoot exports of a task model; export the model again")

    def classify(
        self, sources: Iterable[Source], on_error: Callable[[AudioError], None] | None = None
    ) -> list[Classification]:
        """Classify recordings.

        Args:
            sources: files of any rate and channel count, or mono float arrays (N,) at the model's rate.
            on_error: called with the error of each that cannot be read; without it the error is raised.

        Returns:
            An answer for each, in order; of one that cannot be read, with its ``error``.

        Raises:
            AudioError: something cannot be read, and there is no ``on_error``.
            ModelError: the model fails.
        """
        return list(self.iterate(sources, on_error))

    def iterate(
        self, sources: Iterable[Source], on_error: Callable[[AudioError], None] | None = None
    ) -> Iterator[Classification]:
        """Classify recordings, and yield each answer as soon as it is there; see ``classify``."""
        for number, source in enumerate(sources):
            try:
                recording = open_recording(source, number, self.facts.sample_rate)
                yield self._answer(recording)
            except AudioError as error:
                if on_error is None:
                    raise
                on_error(error)
                yield Classification(error.path, error=error.reason)

    def _answer(self, recording: Recording) -> Classification:
        """Average the logits of the pieces of a recording by their length, as training does."""
        total, samples = np.zeros(1), 0
        for piece in cut_at_pauses(recording, longest=LONGEST_PIECE):
            wave = normalize_part(piece.samples, piece.moments) if self.facts.normalizes else piece.samples
            total = total + len(wave) * self._run(np.asarray(wave, np.float32), recording.name)
            samples += len(wave)
        scores = compute_scores((total / samples)[None], self.task)
        (labels,) = choose_labels(scores, self.task)
        named = list(zip(self.task.labels, map(float, scores[0]), strict=True))
        if self.task.kind in ("single_label", "multi_label"):
            named = sorted(named, key=lambda pair: -pair[1])[: self._top]
        return Classification(recording.name, recording.seconds, labels, dict(named))

    def _run(self, wave: np.ndarray, name: str) -> np.ndarray:
        if len(wave) < self.facts.receptive_field:
            shortest = self.facts.receptive_field
            raise AudioError(name, f"has {len(wave)} samples, fewer than the {shortest} of one frame")
        values, lengths = pad_batch([wave])
        try:
            logits, _ = self._session.run(["logits", "frames"], {"input_values": values, "lengths": lengths})
        except Exception as error:  # ONNX Runtime's exceptions share no base but this one.
            raise ModelError(f"{self.facts.name}: failed at {len(wave)} samples: {error}") from error
        if not np.isfinite(logits).all():
            raise ModelError(f"{self.facts.name}: gives logits that are no numbers; its weights are damaged")
        found: np.ndarray = logits[0].astype(np.float64)
        return found
