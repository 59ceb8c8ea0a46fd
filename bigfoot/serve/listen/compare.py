"""What a page shows of one recording and one model: words with times and confidences, errors, and speed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bigfoot.alignment.aligner import AlignedPart, Aligner
from bigfoot.audio.recording import open_recording
from bigfoot.errors import DataError
from bigfoot.runtime.engine import Engine
from bigfoot.runtime.transcriber import Transcriber
from bigfoot.text.normalize import normalize_text
from bigfoot.types import Hertz, Samples

COLUMNS = 600
"""Of the waveform."""


def compute_peaks(samples: Samples, columns: int = COLUMNS) -> list[float]:
    """Return the loudest sample of each column of a waveform, 0 to 1 of the loudest.

    Args:
        samples: (N,).
        columns: fewer where there are fewer samples.

    Examples:
        >>> compute_peaks(np.float32([0.1, -0.5, 0.25, 0.0]), 2)
        [1.0, 0.5]
    """
    starts = np.linspace(0, len(samples), min(columns, len(samples)), endpoint=False).astype(int)
    if not len(starts):
        return []
    peaks = np.maximum.reduceat(np.abs(samples), starts)
    loudest = float(peaks.max())
    return [round(float(peak) / (loudest or 1.0), 3) for peak in peaks]


def load_samples(path: Path, rate: Hertz) -> Samples:
    """Load a recording.

    Args:
        path: of its file.
        rate: of the model.

    Raises:
        AudioError: it cannot be read.
    """
    return open_recording(path, 0, rate).load()


def compare_model(engine: Engine, samples: Samples, text: str) -> dict[str, Any]:
    """Transcribe a recording and align its text.

    Args:
        engine: of the model.
        samples: (N,) at the model's rate.
        text: what is spoken, where it is known, else empty.

    Returns:
        ``text``, ``words`` with times and confidences, ``expected``: the words of the given text with theirs, or why
        there are none (``reason``), ``errors``, and the ``seconds`` that the transcript took.

    Raises:
        ModelError: the model fails.
    """
    transcriber = Transcriber(engine)
    start = time.perf_counter()
    transcript = transcriber.transcribe([samples])[0]
    seconds = time.perf_counter() - start
    words: Sequence[dict[str, Any]] = [
        {"text": word.text, "start": word.start, "end": word.end, "confidence": None} for word in transcript.words
    ]
    found: dict[str, Any] = {"text": transcript.text, "words": words, "seconds": seconds, "reason": ""}
    if transcript.text:
        words, _ = _align(engine, samples, transcript.text)
        found["words"] = words or found["words"]
    if text.strip():
        found["expected"], found["reason"] = _align(engine, samples, text)
        found["errors"] = _count_errors(text, transcript.text, engine)
    return found


def _align(engine: Engine, samples: Samples, text: str) -> tuple[list[dict[str, Any]], str]:
    try:
        return [_show(word) for word in Aligner(engine).align(samples, text).words], ""
    except DataError as error:
        return [], str(error)


def _show(part: AlignedPart) -> dict[str, Any]:
    return {
        "text": part.text, "start": round(part.start, 3), "end": round(part.end, 3),
        "confidence": None if part.confidence is None else round(part.confidence, 3),
    }  # fmt: skip


def _count_errors(reference: str, hypothesis: str, engine: Engine) -> dict[str, Any] | None:
    """Word errors, and both texts side by side; None without the package that counts them."""
    try:
        from bigfoot.measure.error_rate import align_words, count_errors
    except ModuleNotFoundError:
        return None
    characters = engine.facts.tokenizer.characters
    reference, hypothesis = (normalize_text(text, characters) for text in (reference, hypothesis))
    (counts,) = count_errors([reference], [hypothesis])
    pairs = [
        {"kind": pair.kind, "reference": pair.reference, "hypothesis": pair.hypothesis}
        for pair in align_words(reference, hypothesis)
    ]
    return {"wer": counts.rate, "errors": counts.errors, "words": counts.reference_length, "pairs": pairs}
