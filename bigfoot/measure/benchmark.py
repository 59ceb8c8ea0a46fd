"""Models beside each other on this machine: time, memory, share of what the machine could do, part by part."""

from __future__ import annotations

import itertools
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import torch
import transformers

from bigfoot.config import Problem
from bigfoot.errors import ConfigError
from bigfoot.measure.benchmark_plan import BenchmarkPlan, Setting, plan_warnings
from bigfoot.measure.by_part import PartResult, measure_parts
from bigfoot.measure.deployed import DeployedModel, measure_file_bytes
from bigfoot.measure.graph_profile import WATCHED, ByOperator, GraphWatch
from bigfoot.measure.memory import measure_peak_memory
from bigfoot.measure.peak import PEAK, MatrixProduct, find_peak_product, share_of_peak
from bigfoot.measure.runtimes import RunnableModel, name_models, open_runnable
from bigfoot.measure.size import ModelSize, measure_size
from bigfoot.measure.speed import (
    compute_spread,
    count_all_threads,
    make_samples,
    name_processor,
    run_pass,
    summarize_times,
    time_rounds,
    torch_threads,
)
from bigfoot.measure.verdict import blame_part
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.types import SAMPLE_RATE, Seconds

_BUSY = 0.25


@dataclass(frozen=True)
class ModelResult:
    """One model in one setting.

    Args:
        name: short, the same in every setting and of no other model.
        source: as it was asked for.
        runtime: one of ``bigfoot.measure.runtimes.RUNTIMES``.
        threads: of torch.
        seconds: audio of an utterance.
        batch: utterances of a pass.
        median_s: seconds of a pass.
        low_s: lower quartile of the same.
        high_s: upper quartile.
        speedup_over_first: median over the rounds of the first model's time over this one's.
        speedup_low: lower quartile of the same.
        speedup_high: upper quartile.
        real_time_factor: seconds of computing per second of audio.
        share_of_peak: median over the rounds of its multiply-accumulates per second of computing over those of the
            matrix product in the same round.
        peak_memory_bytes: of a process that does such a pass.
        num_params: parameters, shared ones counted wherever they are used.
        num_unique_params: parameters, shared ones counted once.
        size_bytes: of the weight files.
        macs_per_second: multiply-accumulates per second of audio, of utterances as long as these.
        by_part: the same part by part, in rounds of their own; empty for an exported file that is not ONNX, or whose
            nodes are not named by their parts.
        by_operator: of an ONNX file, seconds by part and kind of operator, in the same rounds.
        part_to_blame: where the model is smaller than the first and not faster; None where it is not so.
        verdict: the same in a sentence.
    """

    name: str
    source: str
    runtime: str
    threads: int
    seconds: Seconds
    batch: int
    median_s: Seconds
    low_s: Seconds
    high_s: Seconds
    speedup_over_first: float
    speedup_low: float
    speedup_high: float
    real_time_factor: float
    share_of_peak: float
    peak_memory_bytes: int
    num_params: int
    num_unique_params: int
    size_bytes: int | None
    macs_per_second: int
    by_part: dict[str, PartResult]
    by_operator: ByOperator = field(default_factory=dict)
    part_to_blame: str | None = None
    verdict: str | None = None


@dataclass(frozen=True)
class PeakResult:
    """Rates of the machine's matrix product in the rounds of one setting.

    Args:
        threads: of torch.
        seconds: audio of an utterance in these rounds.
        batch: utterances of a pass in these rounds.
        size: rows and columns of its matrices.
        median_s: seconds of a product.
        macs_per_second_of_computing: multiply-accumulates over that.
    """

    threads: int
    seconds: Seconds
    batch: int
    size: int
    median_s: Seconds
    macs_per_second_of_computing: float


@dataclass(frozen=True)
class Benchmark:
    """All that was measured.

    Args:
        models: setting by setting, in each the models in the order in which they were given.
        peak: one a setting.
        machine: what it was measured on.
        notes: what a reader should know, a sentence each.
        rounds: counted rounds of each setting.
    """

    models: list[ModelResult]
    peak: list[PeakResult]
    machine: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    rounds: int = 9

    def to_dict(self) -> dict[str, Any]:
        """Plain containers for JSON."""
        return asdict(self)

    def in_setting(self, setting: PeakResult) -> list[ModelResult]:
        """Return the models in the setting of a peak."""
        key = (setting.threads, setting.seconds, setting.batch)
        return [model for model in self.models if (model.threads, model.seconds, model.batch) == key]


def measure_benchmark(plan: BenchmarkPlan, on_tick: Callable[[str], None] = lambda _: None) -> Benchmark:
    """Measure every model in every setting.

    Args:
        plan: what and how.
        on_tick: called ``plan.num_ticks`` times with what is being done, between measurements.

    Returns:
        See ``Benchmark``.

    Raises:
        ModelError: a model cannot be opened, or not by the runtime asked for.
        ConfigError: audio shorter than a frame of a model.
    """
    subjects = _open_subjects(plan)
    products = {threads: find_peak_product(threads) for threads in plan.threads}
    models: list[ModelResult] = []
    peaks: list[PeakResult] = []
    for setting in plan.settings:
        raw = _measure_setting(setting, subjects, plan, products[setting.threads], on_tick)
        peaks.append(_summarize_peak(raw))
        results = [_summarize(raw, subject, subjects[0].name) for subject in subjects]
        models += [_judge(results[0], result) for result in results]
    notes = [*plan_warnings(plan), *_twin_notes(subjects), *_rounding_notes(subjects), *_unnamed_notes(models)]
    notes += _busy_notes(models)
    notes += [model.verdict for model in models if model.verdict is not None]
    return Benchmark(models, peaks, describe_machine(), notes, plan.rounds)


@dataclass(frozen=True)
class _Subject:
    """A model with what is the same in every setting, and its size by seconds of audio."""

    name: str
    source: str
    opened: RunnableModel
    sizes: dict[Seconds, ModelSize]


@dataclass(frozen=True)
class _Raw:
    """Times of the rounds of a setting, by model; ``times`` holds the matrix product's as well."""

    setting: Setting
    product: MatrixProduct
    times: dict[str, list[Seconds]]
    parts: dict[str, dict[str, PartResult]]
    operators: dict[str, ByOperator]
    memory: dict[str, int]


def _open_subjects(plan: BenchmarkPlan) -> list[_Subject]:
    models = [open_runnable(source) for source in plan.sources]
    problems = []
    for source, opened in zip(plan.sources, models, strict=True):
        fewest = opened.config.receptive_field
        problems += [
            Problem(
                "--seconds",
                "too_short",
                f"{seconds:g} is {round(seconds * SAMPLE_RATE)} samples, less than the {fewest} that make a frame of "
                f"{source}; give {fewest / SAMPLE_RATE:g} or more",
            )
            for seconds in plan.seconds
            if round(seconds * SAMPLE_RATE) < fewest
        ]
    if problems:
        raise ConfigError(problems)
    return [
        _Subject(name, source, opened, {s: _measure_size(opened, s) for s in plan.seconds})
        for name, source, opened in zip(name_models(plan.sources), plan.sources, models, strict=True)
    ]


def _measure_size(opened: RunnableModel, seconds: Seconds) -> ModelSize:
    """Count an exported file as the shape that it was written from, with the file's own bytes."""
    if isinstance(opened.model, DeployedModel):
        size = measure_size(BigfootForCTC(opened.config), None, seconds)
        return replace(size, size_bytes=measure_file_bytes(opened.folder))
    return measure_size(opened.model, opened.folder, seconds)


@torch.no_grad()
def _measure_setting(
    setting: Setting,
    subjects: Sequence[_Subject],
    plan: BenchmarkPlan,
    product: MatrixProduct,
    on_tick: Callable[[str], None],
) -> _Raw:
    """Memory, then time, then parts: too little memory shows as a killed child process."""
    memory = {}
    seconds, threads, batch = setting.seconds, setting.threads, setting.batch
    for subject in subjects:
        memory[subject.name] = measure_peak_memory(subject.source, seconds, threads=threads, batch=batch)
        on_tick(f"{setting}: memory")
    samples = make_samples(seconds, batch)
    models = {subject.name: subject.opened.model for subject in subjects}
    passes = {name: partial(run_pass, model, samples) for name, model in models.items()}
    with torch_threads(threads):
        times = time_rounds({PEAK: product, **passes}, plan.rounds, lambda: on_tick(f"{setting}: time"))
    watched = {
        name: GraphWatch(model.path, samples, threads) if isinstance(model, DeployedModel) else model
        for name, model in models.items()
        if not isinstance(model, DeployedModel) or model.runtime == WATCHED
    }
    parts = measure_parts(
        watched,
        {subject.name: subject.sizes[seconds].macs_by_part for subject in subjects},
        product,
        rounds=plan.rounds,
        seconds=seconds,
        threads=threads,
        batch=batch,
        on_round=lambda: on_tick(f"{setting}: parts"),
    )
    graphs = {name: watch.by_operator() for name, watch in watched.items() if isinstance(watch, GraphWatch)}
    return _Raw(setting, product, times, parts, graphs, memory)


def _summarize_peak(raw: _Raw) -> PeakResult:
    median = statistics.median(raw.times[PEAK])
    rate = raw.product.macs / median
    return PeakResult(**asdict(raw.setting), size=raw.product.size, median_s=median, macs_per_second_of_computing=rate)


def _summarize(raw: _Raw, subject: _Subject, first: str) -> ModelResult:
    own, size = raw.times[subject.name], subject.sizes[raw.setting.seconds]
    audio = raw.setting.seconds * raw.setting.batch
    speed, time = summarize_times(raw.times[first], own, audio), compute_spread(own)
    peaks = [raw.product.macs / took for took in raw.times[PEAK]]
    return ModelResult(
        name=subject.name,
        source=subject.source,
        runtime=subject.opened.runtime,
        **asdict(raw.setting),
        median_s=time.median,
        low_s=time.low,
        high_s=time.high,
        speedup_over_first=speed.speedup,
        speedup_low=speed.speedup_low,
        speedup_high=speed.speedup_high,
        real_time_factor=speed.real_time_factor,
        share_of_peak=share_of_peak(own, size.macs_per_second * audio, peaks),
        peak_memory_bytes=raw.memory[subject.name],
        num_params=size.num_params,
        num_unique_params=size.num_unique_params,
        size_bytes=size.size_bytes,
        macs_per_second=size.macs_per_second,
        by_part=raw.parts.get(subject.name, {}),
        by_operator=raw.operators.get(subject.name, {}),
    )


def _judge(first: ModelResult, own: ModelResult) -> ModelResult:
    """Report each model that is smaller than the first and not faster beyond the spread."""
    if own.num_unique_params >= first.num_unique_params or own.speedup_low > 1:
        return own
    blame = blame_part(first.by_part, own.by_part, first.name) if first.by_part and own.by_part else None
    smaller = f"{own.num_unique_params / first.num_unique_params:.2f}x its parameters"
    speed = f"{own.speedup_over_first:.2f}x [{own.speedup_low:.2f}, {own.speedup_high:.2f}]"
    how = f"{speed}; {Setting(own.threads, own.seconds, own.batch)}"
    verdict = (
        f"{own.name} is smaller than {first.name} ({smaller}) and not faster beyond the spread of its rounds ({how})"
    )
    if blame is None:
        return replace(own, verdict=verdict)
    return replace(own, part_to_blame=blame.part, verdict=f"{verdict}: {blame.sentence}")


def _twin_notes(subjects: Sequence[_Subject]) -> Iterator[str]:
    for one, other in itertools.combinations(subjects, 2):
        if (one.opened.folder, one.opened.runtime) == (other.opened.folder, other.opened.runtime):
            yield f"{one.name} and {other.name} are one folder: their difference is what these rounds cannot resolve"


def _rounding_notes(subjects: Sequence[_Subject]) -> Iterator[str]:
    for subject in subjects:
        small = subject.opened.config.small
        if subject.opened.runtime == "bigfoot" and small is not None and small.computes_int8:
            yield (
                f"{subject.name} rounds to int8 in PyTorch, which is slower than fp32: its speed is that of the file "
                f"that bigfoot export {subject.source} writes"
            )


def _unnamed_notes(models: Sequence[ModelResult]) -> Iterator[str]:
    unnamed = dict.fromkeys(model.name for model in models if model.runtime == WATCHED and not model.by_part)
    for name in unnamed:
        yield f"{name} does not name the part of any node; export it again to see its time by part"


def _busy_notes(models: Sequence[ModelResult]) -> Iterator[str]:
    for model in models:
        spread = (model.high_s - model.low_s) / model.median_s
        if spread > _BUSY:
            setting = Setting(model.threads, model.seconds, model.batch)
            yield (
                f"the machine was busy: times of {model.name} ({setting}) lie {spread:.0%} apart between their "
                "quartiles; trust ratios, not times"
            )


def describe_machine() -> dict[str, Any]:
    """Describe the machine that the figures were measured on."""
    return {
        "processor": name_processor(),
        "processors": count_all_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "transformers": str(transformers.__version__),
    }
