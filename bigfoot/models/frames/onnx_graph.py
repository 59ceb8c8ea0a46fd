"""An ONNX graph as an encoder whose frames are CTC logits already; its CTC head passes them on.

Every utterance runs by itself, on ONNX Runtime: what padding does inside a graph of another library's is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import soxr
import torch
from torch import Tensor

from bigfoot.models.frames.base import AudioBatch, FrameEncoder, Frames, run_one_by_one
from bigfoot.runtime.graph_of_audio import AudioGraph
from bigfoot.types import SAMPLE_RATE, Hertz, Samples

LEAST = -69.0
"""Least logarithm of a probability, about 1e-30."""


@dataclass(frozen=True)
class GraphSettings:
    """How a graph is run, and what is known of it.

    Args:
        file: the graph.
        tokens: V.
        timing: see ``FrameTiming``, in samples at 16 kHz.
        receptive: length at which the first frame appears.
        shortest: samples below which an utterance has no frame.
        sample_rate: of the graph's audio in Hz.
        bands: log-mel bands of NeMo's that it takes; 0 for samples.
        probabilities: whether it gives probabilities.
        dropped: tokens that its export made up; they have no probability.
        assumed: whether no file says how its audio is normalized.
        parameters: numbers in its weights.
    """

    file: str
    tokens: int
    timing: tuple[float, float]
    receptive: float
    shortest: int
    sample_rate: Hertz = SAMPLE_RATE
    bands: int = 0
    probabilities: bool = False
    dropped: tuple[int, ...] = field(default=())
    assumed: bool = False
    parameters: int = 0


class GraphFrames(FrameEncoder):
    """See the module.

    Args:
        settings: fields of ``GraphSettings``.
    """

    gives_logits: ClassVar[bool] = True

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self.graph = GraphSettings(**settings)
        # A graph has no layers that could be named; a configuration has one at least.
        self.hidden_size, self.num_layers = self.graph.tokens, 1
        self.num_held_params = self.graph.parameters

    @cached_property
    def _run(self) -> Any:  # noqa: ANN401 - a callable of samples and threads
        return build_run(Path(self.graph.file), self.graph.bands, self.graph.sample_rate)

    def frame_lengths(self, samples: Tensor) -> Tensor:
        """See ``FrameEncoder``."""
        places = torch.div(samples - self.graph.receptive, self.graph.timing[0], rounding_mode="floor").long() + 1
        return places.clamp(min=0).where(samples >= self.graph.shortest, 0)

    def frames(self, audio: AudioBatch) -> Frames:
        """See ``FrameEncoder``; nothing is masked here."""
        return run_one_by_one(audio, lambda samples: [self._read(samples)] * 2)

    def _read(self, samples: Tensor) -> Tensor:
        """(T, V) of one utterance."""
        if len(samples) < self.graph.shortest:
            return torch.zeros(0, self.graph.tokens)
        found = torch.from_numpy(self._run(samples.float().cpu().numpy(), max(1, torch.get_num_threads())))
        if self.graph.probabilities:
            found = found.clamp(min=0.0).log()
        # Minus infinity times zero is no number.
        found = found.log_softmax(-1).clamp(min=LEAST)
        if self.graph.dropped:
            found[:, list(self.graph.dropped)] = -torch.inf
            found = found.log_softmax(-1).clamp(min=LEAST)
        return found


def build_run(file: Path, bands: int = 0, sample_rate: Hertz = SAMPLE_RATE) -> Any:  # noqa: ANN401 - see below
    """Open a graph behind its front end.

    Args:
        file: of the graph.
        bands: log-mel bands of NeMo's that it takes; 0 for samples.
        sample_rate: of its audio in Hz.

    Returns:
        A function from samples (N,) at 16 kHz and threads to (T, V), as the graph gives them.

    Raises:
        ModelError: see ``AudioGraph``.
        MissingExtraError: see there.
    """
    graph = AudioGraph(file, bands)
    extractor = _build_nemo(graph.signature.bands) if graph.signature.bands else None

    def run(samples: Samples, threads: int = 1) -> np.ndarray:
        if sample_rate != SAMPLE_RATE:
            samples = soxr.resample(samples, SAMPLE_RATE, sample_rate)
        return graph.run(samples if extractor is None else extractor(samples), threads)

    return run


def _build_nemo(bands: int) -> Any:  # noqa: ANN401 - a callable
    """NeMo's log-mel bands as transformers has them: from (N,) to (M, T')."""
    from transformers import ParakeetFeatureExtractor

    extractor = ParakeetFeatureExtractor(feature_size=bands)

    def extract(samples: Samples) -> np.ndarray:
        given = extractor([samples], sampling_rate=SAMPLE_RATE, return_tensors="np", return_attention_mask=True)
        real: np.ndarray = given["input_features"][0, : int(given["attention_mask"].sum())]
        return np.ascontiguousarray(real.T)

    return extract
