"""How fast a training goes: audio a second, share of the device's peak rate, memory, time spent waiting for data."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import torch

from bigfoot.measure.memory import own_peak_memory
from bigfoot.measure.size import count_macs
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.types import Seconds

log = logging.getLogger("bigfoot")

Item = TypeVar("Item")

_COUNTED: Seconds = 10.0
_SOON: Seconds = 10.0
"""Training time before which the share of the peak is not asked for: counting and measuring take about a second."""
_ON_PROCESSOR, _ON_ACCELERATOR = 1024, 8192


@dataclass(frozen=True)
class Peak:
    """Highest rate of a device.

    Args:
        flops: operations a second, two to a multiply-accumulate.
        how: where the number is from.
    """

    flops: float
    how: str


@cache
def measure_peak(device: torch.device, dtype: torch.dtype) -> Peak:
    """Time matrix products: what this device reaches with this many threads in this precision, not what is printed.

    Args:
        device: of the training.
        dtype: of its matrix products.
    """
    size = _ON_PROCESSOR if device.type == "cpu" else _ON_ACCELERATOR
    left = torch.full((size, size), 0.5, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(4):
        _synchronize(device)
        start = time.perf_counter()
        _ = left @ left
        _synchronize(device)
        best = min(best, time.perf_counter() - start)
    name = str(dtype).removeprefix("torch.")
    return Peak(2 * size**3 / best, f"the best {name} matrix product of {size} rows measured here")


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def find_peak(name: str, device: torch.device, precision: str, given: float) -> Peak:
    """Return the rate that utilisation is a share of, and log where it is from.

    Args:
        name: of the training, for the log.
        device: of the training.
        precision: ``no``, ``bf16`` or ``fp16``.
        given: in 10^12 operations a second; 0 to measure it.
    """
    if given:
        peak = Peak(given * 1e12, "as given by peak_tflops")
    else:
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
        peak = measure_peak(device, dtype)
    log.info("%s: MFU is the share of %.3g TFLOP/s a process, %s", name, peak.flops / 1e12, peak.how)
    return peak


def count_step_flops(student: Any, teachers: Sequence[BigfootForCTC]) -> float | None:  # noqa: ANN401 - what learns
    """Count the operations that a second of audio asks for in a training step, padding and recomputation left out.

    A backward pass counts as two forward passes, whatever is frozen (Chowdhery et al. 2022, PaLM, appendix B).

    Args:
        student: trained.
        teachers: run forward, one entry for each time.

    Returns:
        Operations, two to a multiply-accumulate, counted on 10 s of audio; None of a model that does more than encode.
    """
    if not isinstance(student, BigfootForCTC) or student.decoder is not None:
        return None
    if any(model.dtype != torch.float32 for model in (student, *teachers)):
        return None  # they are counted on audio in fp32
    once = {id(model): 2 * count_macs(model, _COUNTED).get(model, 0) / _COUNTED for model in [student, *teachers]}
    return 3 * once[id(student)] + sum(once[id(teacher)] for teacher in teachers)


class Pace:
    """Times of a training's steps since the last line of the log; evaluations and checkpoints are not among them.

    Args:
        device: of the training.
        processes: that train together.
        count_flops: gives the operations to a second of audio, asked for once; None where they are not counted.
        find_peak: gives the peak rate of one device, asked for once.
    """

    def __init__(
        self, device: torch.device, processes: int, count_flops: Callable[[], float | None],
        find_peak: Callable[[], Peak],
    ) -> None:  # fmt: skip
        self._device, self._processes = device, processes
        self._count_flops, self._find_peak = cache(count_flops), cache(find_peak)
        self._trained: Seconds = 0.0
        self._latest: dict[str, float] = {}
        self._forget()

    def _forget(self) -> None:
        self.audio, self.seconds, self.waited = 0.0, 0.0, 0.0

    def wait(self, stream: Iterator[Item]) -> Item:
        """Take the next batch, and note how long that took.

        Args:
            stream: of batches.
        """
        start = time.perf_counter()
        item = next(stream)
        self.waited += time.perf_counter() - start
        return item

    def add(self, audio: Seconds, seconds: Seconds) -> None:
        """Count a step.

        Args:
            audio: of this process, padding not counted; the others have about as much.
            seconds: that it took, waiting included.
        """
        self.audio += audio * self._processes
        self.seconds += seconds
        self._trained += seconds

    @property
    def audio_rate(self) -> float:
        """Seconds of audio a second, all processes together, since the last line."""
        return self.audio / self.seconds if self.seconds else 0.0

    def take(self) -> dict[str, float]:
        """Return the figures since the last call, and start anew.

        Returns:
            ``audio_seconds_per_second``, ``data_wait`` (share of the time), ``memory_gb`` (most of this process)
            and ``model_flops_utilisation`` where operations are counted and the training has run for some seconds.
        """
        found = self._measured()
        flops = self._count_flops() if self._trained >= _SOON else None
        if flops is not None:
            peak = self._find_peak().flops * self._processes
            found["model_flops_utilisation"] = self.audio_rate * flops / peak
        self._forget()
        self._latest = found
        return found

    def describe(self) -> str:
        """Write the figures of the last ``take``, of the steps so far where there was none."""
        return describe_pace(self._latest or self._measured())

    def _measured(self) -> dict[str, float]:
        return {
            "audio_seconds_per_second": self.audio_rate,
            "data_wait": self.waited / self.seconds if self.seconds else 0.0,
            "memory_gb": self._peak_memory() / 1e9,
        }

    def _peak_memory(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return own_peak_memory()


def describe_pace(figures: dict[str, float]) -> str:
    """Write the figures of ``Pace.take`` for a log.

    Examples:
        >>> describe_pace({"audio_seconds_per_second": 31.25, "data_wait": 0.064, "memory_gb": 1.53})
        '31.2 s of audio/s, data wait 6 %, 1.5 GB'
        >>> describe_pace({"audio_seconds_per_second": 0.0, "data_wait": 0.064, "memory_gb": 1.53})
        'data wait 6 %, 1.5 GB'
    """
    rate = figures["audio_seconds_per_second"]
    words = f"{rate:.3g} s of audio/s, " if rate else ""  # a text task has none
    words += f"data wait {100 * figures['data_wait']:.0f} %"
    if "model_flops_utilisation" in figures:
        words += f", MFU {100 * figures['model_flops_utilisation']:.0f} %"
    return f"{words}, {figures['memory_gb']:.1f} GB"
