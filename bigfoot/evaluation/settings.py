"""Settings of evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bigfoot.config import Problem, above_zero, not_negative, one_of, unknown_words
from bigfoot.decoding.settings import DecodingConfig, SearchConfig
from bigfoot.install import install_hint
from bigfoot.text.normalizers import EXTRA, NORMALIZERS, lacks_normalizer

SPLITS = ("dev", "test")
"""Splits that a report can have rows for."""


@dataclass
class MeasureConfig:
    """What is measured besides error rates and size."""

    speed: bool = True
    """Time and memory of every model; false saves the minutes that they take, and leaves those columns empty."""


@dataclass
class EvaluateConfig(SearchConfig):
    """Measurements of every model."""

    splits: list[str] = field(default_factory=lambda: ["test"])
    """Splits that the report has rows for: ``dev``, ``test``."""
    batch_size: int = above_zero(8)
    """Utterances decoded together; padding never changes an output."""
    normalizer: str = one_of(*NORMALIZERS)
    """Form in which texts are compared: ``vocabulary``, the model's own characters; ``english`` or ``basic``, Whisper's
    normalizers behind it, as the open ASR leaderboard does."""
    bootstrap_samples: int = not_negative(1000)
    """Bootstrap samples of a confidence interval."""
    autoregressive: DecodingConfig = field(default_factory=DecodingConfig)
    """Decoding of a model with an autoregressive decoder; its CTC head is reported too."""
    speed_rounds: int = above_zero(9)
    """Interleaved rounds of the speed measurement."""
    speed_seconds: float = above_zero(10.0)
    """Audio of one timed pass, batch 1."""

    def find_problems(self) -> Iterator[Problem]:
        """Check what the range of a single number cannot express."""
        yield from unknown_words("splits", "split", self.splits, SPLITS)
        if lacks_normalizer(self.normalizer):
            message = f"{self.normalizer} needs the package whisper-normalizer: {install_hint(EXTRA)}"
            yield Problem("normalizer", "missing_package", message)
