"""Aggregate the trials of a comparison to one row per method."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bigfoot.formats.folder import load_model
from bigfoot.measure.error_rate import PairedDifference, compare_paired, measure_error_rate
from bigfoot.measure.speed import ModelSpeed, count_all_threads, measure_speed, name_processor
from bigfoot.pipeline.settings import Config
from bigfoot.study.plan import CONTROLS, TEACHER, PlannedRun
from bigfoot.study.run import RunOutcomes
from bigfoot.study.table import MethodComparison, MethodRow
from bigfoot.study.trial import Trial


def gather_rows(outcomes: RunOutcomes, speed_rounds: int, conditions: list[str]) -> MethodComparison:
    """Aggregate the trials of each method, and time the first seed's models in interleaved rounds.

    Args:
        outcomes: of ``run_planned``; if the teacher of a seed is missing, that seed's difference to it is unknown.
        speed_rounds: interleaved rounds.
        conditions: listed before the conditions that are found here.

    Returns:
        One row per method.
    """
    by_name: dict[str, list[tuple[PlannedRun, Trial]]] = {}
    for run, trial in outcomes.trials:
        by_name.setdefault(run.name, []).append((run, trial))
    speeds = _time_models({name: found[0][1].model for name, found in by_name.items()}, speed_rounds)
    teachers = {run.seed: trial for run, trial in by_name.get(TEACHER, [])}
    rows = [_gather_row(name, found, teachers, speeds.get(name)) for name, found in by_name.items()]
    machine = f"{name_processor()}, {count_all_threads()} processors; speed with one thread, {speed_rounds} rounds"
    return MethodComparison(rows, [*conditions, *_describe_data(outcomes), machine], outcomes.failed)


def _time_models(folders: dict[str, str], rounds: int) -> dict[str, ModelSpeed]:
    """Empty without a teacher to compare with."""
    if TEACHER not in folders:
        return {}
    names = [TEACHER, *(name for name in folders if name != TEACHER)]
    return measure_speed({name: load_model(folders[name]).model for name in names}, rounds=rounds, threads=1)


def _describe_data(outcomes: RunOutcomes) -> list[str]:
    teachers = [(run, trial) for run, trial in outcomes.trials if run.name == TEACHER]
    if not teachers:
        return []
    config: Config = teachers[0][0].config
    counts = "; ".join(
        f"seed {run.seed}: {sum(len(text.split()) for text in trial.references):,} words in "
        f"{len(trial.references)} utterances"
        for run, trial in teachers
    )
    return [f"corpus {config.data.corpus}, split test, greedy, no language model ({counts})"]


def _gather_row(
    name: str, found: Sequence[tuple[PlannedRun, Trial]], teachers: dict[int, Trial], speed: ModelSpeed | None
) -> MethodRow:
    trials, config = [trial for _, trial in found], found[0][0].config
    first = trials[0]
    references, hypotheses, speakers = (
        [text for trial in trials for text in getattr(trial, what)] for what in ("references", "hypotheses", "speakers")
    )
    samples, seed = config.evaluate.bootstrap_samples, config.seed
    rate = measure_error_rate(references, hypotheses, speakers, samples=samples, seed=seed)
    difference = _compare_with_teacher(name, found, teachers)
    return MethodRow(
        name=name, kind=_kind_of(found[0][0]), wer=rate.wer or 0.0, wer_low=rate.wer_low, wer_high=rate.wer_high,
        wer_by_seed=[trial.wer for trial in trials], start=first.start,
        start_wer=_mean([trial.start_wer for trial in trials if trial.start_wer is not None]),
        wer_difference=None if difference is None else difference.difference,
        wer_difference_low=None if difference is None else difference.low,
        wer_difference_high=None if difference is None else difference.high,
        num_params=statistics.fmean(trial.num_params for trial in trials),
        macs_per_second=statistics.fmean(trial.macs_per_second for trial in trials),
        speedup=None if speed is None else speed.speedup, speedup_low=None if speed is None else speed.speedup_low,
        speedup_high=None if speed is None else speed.speedup_high,
        train_seconds=_mean([trial.train_seconds for trial in trials if trial.steps]), steps=first.steps,
        losses={
            label: [statistics.fmean(trial.losses[label][end] for trial in trials) for end in (0, 1)]
            for label in first.losses
        },
    )  # fmt: skip


def _compare_with_teacher(
    name: str, found: Sequence[tuple[PlannedRun, Trial]], teachers: dict[int, Trial]
) -> PairedDifference | None:
    """None for the teacher itself, and where its run with one of the seeds has failed."""
    if name == TEACHER or not all(run.seed in teachers for run, _ in found):
        return None
    config, pairs = found[0][0].config, [(teachers[run.seed], trial) for run, trial in found]
    return compare_paired(
        [text for _, ours in pairs for text in ours.references],
        [text for theirs, _ in pairs for text in theirs.hypotheses],
        [text for _, ours in pairs for text in ours.hypotheses],
        [text for _, ours in pairs for text in ours.speakers],
        samples=config.evaluate.bootstrap_samples, seed=config.seed,
    )  # fmt: skip


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _kind_of(run: PlannedRun) -> str:
    if run.other:
        return "other"
    return "teacher" if run.name == TEACHER else "control" if run.name in CONTROLS else "method"
