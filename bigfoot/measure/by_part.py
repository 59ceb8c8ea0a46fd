"""Where the time goes: the parts of models timed by hooks, or by their runtime's profile, in rounds of their own.

Hooks stop the clock at the border of a part. That costs a little, so these rounds are apart from those that measure how
fast a model is.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from bigfoot.measure.graph_profile import GraphWatch
from bigfoot.measure.peak import PEAK, MatrixProduct, share_of_peak
from bigfoot.measure.size import divide_by_part, part_modules
from bigfoot.measure.speed import eval_mode, make_samples, run_pass, time_rounds, torch_threads
from bigfoot.types import Seconds


@dataclass(frozen=True)
class PartResult:
    """What one part of a model takes.

    Args:
        median_s: seconds of a pass spent in it.
        time_share: of the time of all parts.
        macs_per_second: multiply-accumulates per second of audio.
        macs_share: of those of all parts.
        share_of_peak: its multiply-accumulates per second of computing over those of the machine's matrix product.
    """

    median_s: Seconds
    time_share: float
    macs_per_second: int
    macs_share: float
    share_of_peak: float


class _Clock:
    """Adds up the time between entering and leaving modules."""

    def __init__(self) -> None:
        self.seconds: dict[nn.Module, Seconds] = {}
        self._entered: dict[nn.Module, Seconds] = {}

    def enter(self, module: nn.Module, _: object) -> None:
        self._entered[module] = _now(module)

    def leave(self, module: nn.Module, *_: object) -> None:
        self.seconds[module] = self.seconds.get(module, 0.0) + _now(module) - self._entered.pop(module)


def _now(module: nn.Module) -> Seconds:
    first = next(module.parameters(), None)  # A projection without norm and linear map has none.
    if first is not None and first.is_cuda:
        # A GPU answers before it has computed.
        torch.cuda.synchronize()
    return time.perf_counter()


@contextmanager
def timed_parts(model: PreTrainedModel) -> Iterator[Callable[[], dict[str, Seconds]]]:
    """Watch a model's parts inside the block.

    Args:
        model: ours or transformers' own.

    Yields:
        A function that gives the seconds by part since it was last asked.
    """
    clock = _Clock()
    hooks = []
    for module in part_modules(model):
        hooks += [module.register_forward_pre_hook(clock.enter), module.register_forward_hook(clock.leave)]

    def read() -> dict[str, Seconds]:
        seconds, clock.seconds = clock.seconds, {}
        return divide_by_part(model, seconds)

    try:
        yield read
    finally:
        for hook in hooks:
            hook.remove()


class _ModuleWatch:
    """Passes of a model with a clock at every part."""

    def __init__(self, model: PreTrainedModel, samples: torch.Tensor) -> None:
        self._model, self._samples = model, samples.to(model.device)
        self._rounds: list[dict[str, Seconds]] = []

    def run(self) -> None:
        with timed_parts(self._model) as read:
            run_pass(self._model, self._samples)
            self._rounds.append(read())

    def read(self) -> list[dict[str, Seconds]]:
        return self._rounds


@torch.no_grad()
def measure_parts(
    models: Mapping[str, PreTrainedModel | GraphWatch],
    macs_by_part: Mapping[str, Mapping[str, int]],
    product: MatrixProduct,
    *,
    rounds: int = 5,
    seconds: Seconds = 10.0,
    threads: int = 1,
    batch: int = 1,
    on_round: Callable[[], None] = lambda: None,
) -> dict[str, dict[str, PartResult]]:
    """Time the parts of models in eval mode on the same audio, one pass of each and of a matrix product a round.

    Args:
        models: by name, an exported file watched on audio of this length, batch and threads; the empty name is the
            product's.
        macs_by_part: multiply-accumulates per second of audio, by name.
        product: what the machine can do.
        rounds: counted rounds, after one that is not.
        seconds: audio of an utterance.
        threads: of torch on the CPU.
        batch: utterances of a pass.
        on_round: called after every round.

    Returns:
        By name and part; what happens between parts, such as masking, is in none.

    Examples:
        >>> from bigfoot.measure.peak import build_product
        >>> from bigfoot.measure.size import measure_size
        >>> from bigfoot.formats.folder import load_model
        >>> model = load_model("tiny_teacher").model
        >>> macs = measure_size(model, seconds=1.0).macs_by_part
        >>> parts = measure_parts({"teacher": model}, {"teacher": macs}, build_product(64), rounds=1, seconds=1.0)
        >>> sorted(parts["teacher"])
        ['conv', 'head', 'positional_conv', 'transformer']
    """
    samples = make_samples(seconds, batch)
    modules = [model for model in models.values() if not isinstance(model, GraphWatch)]
    watches = {
        name: model if isinstance(model, GraphWatch) else _ModuleWatch(model, samples) for name, model in models.items()
    }
    with torch_threads(threads), eval_mode(modules):
        passes = {name: watch.run for name, watch in watches.items()}
        times = time_rounds({PEAK: product, **passes}, rounds, on_round)
    peaks = [product.macs / took for took in times[PEAK]]
    found = {name: watch.read()[1:] for name, watch in watches.items()}
    return {
        name: describe_parts(rows, macs_by_part[name], seconds * batch, peaks) for name, rows in found.items() if rows
    }


def describe_parts(
    rounds: Sequence[Mapping[str, Seconds]], macs: Mapping[str, int], audio: Seconds, peaks: Sequence[float]
) -> dict[str, PartResult]:
    """Put time and operations of each part side by side.

    Args:
        rounds: of each, seconds of a pass by part.
        macs: multiply-accumulates per second of audio by part.
        audio: seconds of audio in a pass, all utterances together.
        peaks: multiply-accumulates per second of computing that the machine could do, one a round.

    Examples:
        >>> parts = describe_parts([{"conv": 3.0, "head": 1.0}], {"conv": 30, "head": 0}, audio=2.0, peaks=[100.0])
        >>> parts["conv"].time_share, parts["conv"].macs_share, parts["conv"].share_of_peak
        (0.75, 1.0, 0.2)
    """
    medians = {part: statistics.median(times[part] for times in rounds) for part in macs}
    time_of_all, macs_of_all = sum(medians.values()), sum(macs.values())
    return {
        part: PartResult(
            median_s=seconds,
            time_share=seconds / time_of_all,
            macs_per_second=macs[part],
            macs_share=macs[part] / macs_of_all,
            share_of_peak=share_of_peak([times[part] for times in rounds], macs[part] * audio, peaks),
        )
        for part, seconds in medians.items()
    }
