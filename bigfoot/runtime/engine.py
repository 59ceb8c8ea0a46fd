"""The interface of an engine, which computes logits for the transcriber, and the facts about its model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from bigfoot.text.tokenizer import Tokenizer
from bigfoot.types import SAMPLE_RATE, Hertz, Samples, Seconds


@dataclass(frozen=True, kw_only=True)
class AudioFacts:
    """Facts needed to prepare a model's input.

    Args:
        name: for messages, such as its file.
        stride: samples from one frame to the next.
        receptive_field: samples that make the first frame.
        normalizes: whether utterances are brought to zero mean and unit variance before the model.
        batch_invariant: whether a padded batch gives what each utterance gives alone.
        sample_rate: in Hz.
        longest: most samples of a pass; None where any number will do.
    """

    name: str
    stride: int
    receptive_field: int
    normalizes: bool = True
    batch_invariant: bool = True
    sample_rate: Hertz = SAMPLE_RATE
    longest: int | None = None


@dataclass(frozen=True, kw_only=True)
class ModelFacts(AudioFacts):
    """The same, and what reads its output; see ``AudioFacts``.

    Args:
        tokenizer: from frames to text.
    """

    tokenizer: Tokenizer

    def frame_time(self, frame: int) -> Seconds:
        """Start of a frame."""
        return frame * self.stride / self.sample_rate


class EngineOutput(NamedTuple):
    """Output of a model for a batch.

    Args:
        logits: (B, T, V) float32.
        frames: (B,) real frames of each utterance.
    """

    logits: npt.NDArray[np.float32]
    frames: npt.NDArray[np.int64]


class Engine(Protocol):
    """Something that computes logits: ONNX Runtime, or PyTorch where it is at hand."""

    @property
    def facts(self) -> ModelFacts:
        """Facts about the model."""

    @property
    def lanes(self) -> int:
        """Number of passes that may run at once."""

    def run(self, input_values: Samples, lengths: npt.NDArray[np.int64], alone: bool = True) -> EngineOutput:
        """Compute a batch.

        Args:
            input_values: (B, N), zeros behind the end of shorter utterances.
            lengths: (B,) real samples, each at least the receptive field.
            alone: no other pass runs at the same time, so that all threads can share this one.

        Raises:
            ModelError: the model fails at it.
        """
