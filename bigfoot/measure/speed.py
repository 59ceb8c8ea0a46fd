"""Compare the speed of models: interleaved rounds in one process, medians and spreads."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from bigfoot.types import SAMPLE_RATE, Seconds


@dataclass(frozen=True)
class Spread:
    """Summarize the rounds of one number.

    Args:
        median: over the rounds.
        low: lower quartile.
        high: upper quartile.
    """

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class ModelSpeed:
    """Speed of one model among others.

    Args:
        median_seconds: of one pass.
        real_time_factor: ``median_seconds`` over the audio's length, that of the whole batch; below 1 is faster than
            speech.
        speedup: median over the rounds of the first model's time over this one's.
        speedup_low: lower quartile of the same.
        speedup_high: upper quartile of the same.
    """

    median_seconds: Seconds
    real_time_factor: float
    speedup: float
    speedup_low: float
    speedup_high: float


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set torch's number of threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def eval_mode(models: Iterable[PreTrainedModel]) -> Iterator[None]:
    """Have models in eval mode inside the block, and as they were after it."""
    were_training = [(model, model.training) for model in models]
    for model, _ in were_training:
        model.eval()
    try:
        yield
    finally:
        for model, was_training in were_training:
            model.train(was_training)


def count_all_threads() -> int:
    """Return the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def name_processor() -> str:
    """Return the processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def compute_spread(values: Sequence[float]) -> Spread:
    """Compute the median and quartiles of what rounds gave.

    Args:
        values: one a round, 1 or more.

    Returns:
        The value itself three times where there was one round.

    Examples:
        >>> compute_spread([4.0, 1.0, 2.0, 3.0, 5.0])
        Spread(median=3.0, low=2.0, high=4.0)
    """
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def time_rounds(
    passes: Mapping[str, Callable[[], object]], rounds: int, on_round: Callable[[], None] = lambda: None,
    clock: Callable[[], Seconds] | None = None,
) -> dict[str, list[Seconds]]:  # fmt: skip
    """Time things in turn, one pass of each a round.

    Who is first, and who comes after whom, changes from round to round: what a pass leaves in caches, and a machine
    that slows down while a round lasts, must not fall to the same one each time.

    Args:
        passes: what to run, by name; a pass returns when its work is done.
        rounds: counted rounds, after one that is not.
        on_round: called after every round, the one not counted too.
        clock: of seconds, ``time.perf_counter`` by default; ``time.process_time`` leaves out what other work on the
            machine takes.

    Returns:
        Times of the counted rounds by name.

    Examples:
        >>> sorted(time_rounds({"a": list, "b": dict}, rounds=3))
        ['a', 'b']
    """
    times: dict[str, list[Seconds]] = {name: [] for name in passes}
    names, read = list(passes), clock or time.perf_counter
    for index in range(rounds + 1):
        first = index // 2 % len(names)
        turn = names[first:] + names[:first]
        for name in turn if index % 2 == 0 else reversed(turn):
            start = read()
            passes[name]()
            times[name].append(read() - start)
        on_round()
    return {name: own[1:] for name, own in times.items()}


def make_samples(seconds: Seconds, batch: int = 1) -> torch.Tensor:
    """Noise to time models on, the same each time, (``batch``, N); no model here computes less for other sounds."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, round(seconds * SAMPLE_RATE), generator=generator)


def run_pass(model: Callable[[torch.Tensor], Any], samples: torch.Tensor) -> None:
    """One pass, awaited.

    Args:
        model: ours, transformers' own or an exported one, in eval mode.
        samples: (B, N), on the model's device.
    """
    output = model(samples)[0]
    # A GPU call returns before it has computed; reading one number waits for it.
    float(output[0, 0, 0])


@torch.no_grad()
def measure_speed(
    models: Mapping[str, PreTrainedModel | Callable[[torch.Tensor], tuple[torch.Tensor]]],
    *,
    rounds: int = 9,
    seconds: Seconds = 10.0,
    threads: int = 1,
    batch: int = 1,
    on_round: Callable[[], None] = lambda: None,
) -> dict[str, ModelSpeed]:
    """Time models in eval mode on the same audio, one pass of each a round.

    Absolute times mean little on a shared machine; within a round all models meet the same disturbance, so what is
    reported are ratios, round by round.

    Args:
        models: by name; the first is what the others are compared with. What is no model of PyTorch, such as a
            ``DeployedModel`` or a ``DecoderPass``, takes samples and gives (B, T, V).
        rounds: counted rounds, after one that is not.
        seconds: audio of an utterance.
        threads: of torch on the CPU, and of ONNX Runtime.
        batch: utterances of a pass.
        on_round: see ``time_rounds``.

    Returns:
        Speeds by name.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> speeds = measure_speed({"teacher": load_model("tiny_teacher").model}, rounds=1, seconds=1.0)
        >>> speeds["teacher"].speedup
        1.0
    """
    samples = make_samples(seconds, batch)
    passes = {
        name: partial(run_pass, model, samples.to(model.device) if isinstance(model, PreTrainedModel) else samples)
        for name, model in models.items()
    }
    plain = [model for model in models.values() if isinstance(model, PreTrainedModel)]
    with torch_threads(threads), eval_mode(plain):
        times = time_rounds(passes, rounds, on_round)
    first = next(iter(models))
    return {name: summarize_times(times[first], own, seconds * batch) for name, own in times.items()}


def summarize_times(first: Sequence[Seconds], own: Sequence[Seconds], seconds: Seconds) -> ModelSpeed:
    """Turn the times of rounds into a speed.

    Args:
        first: of the model that others are compared with, one a round.
        own: of this model, in the same rounds.
        seconds: audio of a pass, all utterances together.
    """
    ratio = compute_spread([a / b for a, b in zip(first, own, strict=True)])
    median = statistics.median(own)
    return ModelSpeed(median, median / seconds, ratio.median, ratio.low, ratio.high)
