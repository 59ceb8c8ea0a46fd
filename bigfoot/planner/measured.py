"""Measure what a student costs before it is trained: random weights of its shape, in the runtime that is meant."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from bigfoot.compress.quantize import Int8Plan, calibrate
from bigfoot.export.exported import Run
from bigfoot.export.onnx import build_onnx
from bigfoot.export.openvino import build_openvino
from bigfoot.formats.folder import LoadedModel
from bigfoot.measure.size import count_params
from bigfoot.measure.speed import compute_spread, make_samples, time_rounds, torch_threads
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.planner.ladders import Candidate
from bigfoot.text.tokenizers import Processor
from bigfoot.types import Seconds

_CALIBRATED: Seconds = 2.0
_SEED = 0


@dataclass(frozen=True)
class Opened:
    """A student with random weights, ready to be timed.

    Args:
        num_bytes: of the files that the runtime reads.
        run: a pass over samples (1, N).
    """

    num_bytes: int
    run: Callable[[Tensor], object]


def draw_model(shape: BigfootConfig) -> BigfootForCTC:
    """Build a model of a shape with random weights, the same each time.

    Args:
        shape: of the model.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return BigfootForCTC(shape).eval()


def _open_pytorch(loaded: LoadedModel, int8: bool) -> Opened:
    if int8:
        raise AssertionError("PyTorch has no int8 kernels here; its runtime lists no such kind")
    model = loaded.model

    @torch.no_grad()
    def run(samples: Tensor) -> object:
        return model(samples)

    return Opened(4 * count_params(model), run)


def _open_onnx(loaded: LoadedModel, int8: bool) -> Opened:
    exported = build_onnx(loaded, _plan(loaded.model) if int8 else None)
    return Opened(exported.graph.ByteSize(), partial(_pass, exported.open()))


def _open_openvino(loaded: LoadedModel, int8: bool) -> Opened:
    made = build_openvino(loaded, _plan(loaded.model) if int8 else None)
    return Opened(len(made.xml) + len(made.weights), partial(_pass, made.open()))


def _pass(run: Run, samples: Tensor) -> object:
    return run(samples.numpy(), np.array([samples.shape[1]]))


def _plan(model: BigfootForCTC) -> Int8Plan:
    samples = make_samples(_CALIBRATED)
    return calibrate(model, [PaddedAudio(samples, torch.ones_like(samples, dtype=torch.bool))])


@dataclass(frozen=True)
class PlannedRuntime:
    """A runtime in which students are timed.

    Args:
        open: makes a model ready.
        int8: whether it has int8 kernels.
        file: name of what is measured in bytes.
    """

    open: Callable[[LoadedModel, bool], Opened]
    int8: bool
    file: str


RUNTIMES = {
    "onnx": PlannedRuntime(_open_onnx, int8=True, file=".onnx file"),
    "openvino": PlannedRuntime(_open_openvino, int8=True, file=".xml and .bin files"),
    "pytorch": PlannedRuntime(_open_pytorch, int8=False, file="weights of the folder"),
}
"""What ``bigfoot plan --runtime`` names."""


@dataclass(frozen=True)
class Speed:
    """Time of a student.

    Args:
        rtf: seconds of computing per second of audio, median over the rounds.
        low: lower quartile of the same.
        high: upper quartile of the same.
    """

    rtf: float
    low: float
    high: float


@dataclass(frozen=True)
class Bench:
    """How students are timed.

    Args:
        runtime: one of ``RUNTIMES``.
        processor: of the teacher, for the files.
        seconds: audio of a pass.
        threads: of the runtime.
        rounds: counted rounds.
    """

    runtime: str
    processor: Processor
    seconds: Seconds = 10.0
    threads: int = 1
    rounds: int = 5

    def open(self, candidate: Candidate) -> Opened:
        """Make a candidate with random weights ready.

        Args:
            candidate: a shape, in fp32 or int8.
        """
        loaded = LoadedModel(draw_model(candidate.shape), self.processor)
        with torch_threads(self.threads):
            return RUNTIMES[self.runtime].open(loaded, candidate.int8)

    def time(
        self, opened: Mapping[str, Opened], on_round: Callable[[], None] = lambda: None
    ) -> dict[str, list[Seconds]]:
        """Time students in turn, round by round.

        Args:
            opened: by name.
            on_round: called after every round.

        Returns:
            Seconds of a pass, one a round.
        """
        samples = make_samples(self.seconds)
        with torch_threads(self.threads):
            return time_rounds(
                {name: partial(each.run, samples) for name, each in opened.items()}, self.rounds, on_round,
                clock=time.perf_counter,
            )  # fmt: skip

    def summarize(self, times: list[Seconds]) -> Speed:
        """Turn the times of rounds into a real-time factor.

        Args:
            times: seconds of a pass, one a round.
        """
        spread = compute_spread([took / self.seconds for took in times])
        return Speed(spread.median, spread.low, spread.high)
