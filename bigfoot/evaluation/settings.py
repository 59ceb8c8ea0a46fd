"""Settings of measuring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bigfoot.config import Problem, above_zero, not_negative, unknown_words
from bigfoot.decoding.settings import DecodingConfig, SearchConfig

SPLITS = ("dev", "test")
"""Splits of which a report can have rows."""


@dataclass
class EvaluateConfig(SearchConfig):
    """What is measured of every model."""

    splits: list[str] = field(default_factory=lambda: ["test"])
    """Splits of which the report has rows: ``dev``, ``test``."""
    batch_size: int = above_zero(8)
    """Utterances decoded together; padding never changes an answer."""
    bootstrap_samples: int = not_negative(1000)
    """Resamplings behind a confidence interval."""
    autoregressive: DecodingConfig = field(default_factory=DecodingConfig)
    """How a model with an autoregressive decoder writes its text; CTC's stands beside it."""
    speed_rounds: int = above_zero(9)
    """Interleaved rounds of the speed measurement."""
    speed_seconds: float = above_zero(10.0)
    """Audio of one timed pass, batch 1."""

    def find_problems(self) -> Iterator[Problem]:
        """Check what the range of a single number cannot express."""
        yield from unknown_words("splits", "split", self.splits, SPLITS)
