"""How fast models are beside each other: interleaved rounds in one process, medians and spreads."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from bigfoot.models.ctc import BigfootForCTC
from bigfoot.types import SAMPLE_RATE, Seconds


@dataclass(frozen=True)
class ModelSpeed:
    """Speed of one model among others.

    Args:
        median_seconds: of one pass.
        real_time_factor: ``median_seconds`` over the audio's length; below 1 is faster than speech.
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
    """Let torch compute with so many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def count_all_threads() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _time_pass(model: BigfootForCTC, samples: torch.Tensor) -> Seconds:
    begin = time.perf_counter()
    logits = model(samples).last_hidden_state
    # A GPU answers before it has computed; reading one number waits for it.
    float(logits[0, 0, 0])
    return time.perf_counter() - begin


@torch.no_grad()
def measure_speed(
    models: Mapping[str, BigfootForCTC], *, rounds: int = 9, seconds: Seconds = 10.0, threads: int = 1
) -> dict[str, ModelSpeed]:
    """Time models in eval mode on the same audio, one pass of each a round, batch 1.

    Absolute times mean little on a shared machine; within a round all models meet the same disturbance, so what is
    reported are ratios, round by round.

    Args:
        models: by name; the first is what the others are compared with.
        rounds: counted rounds, after one that is not.
        seconds: audio of a pass.
        threads: of torch on the CPU.

    Returns:
        Speeds by name.

    Example:
        >>> from bigfoot.models.folder import load_model
        >>> speeds = measure_speed({"teacher": load_model("tiny_teacher").model}, rounds=1, seconds=1.0)
        >>> speeds["teacher"].speedup
        1.0
    """
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(1, round(seconds * SAMPLE_RATE), generator=generator)
    times: dict[str, list[Seconds]] = {name: [] for name in models}
    were_training = {name: model.training for name, model in models.items()}
    with torch_threads(threads):
        for _ in range(rounds + 1):
            for name, model in models.items():
                times[name].append(_time_pass(model.eval(), samples.to(model.device)))
    for name, model in models.items():
        model.train(were_training[name])
    first = next(iter(models))
    return {name: _summarize(times[first][1:], own[1:], seconds) for name, own in times.items()}


def _summarize(first: list[Seconds], own: list[Seconds], seconds: Seconds) -> ModelSpeed:
    ratios = sorted(a / b for a, b in zip(first, own, strict=True))
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    median = statistics.median(own)
    return ModelSpeed(median, median / seconds, statistics.median(ratios), low, high)
