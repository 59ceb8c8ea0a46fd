"""Run what a comparison plans, some at once, and put what came of it into one table."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from bigfoot.formats.folder import load_model
from bigfoot.measure.error_rate import PairedDifference, compare_paired, measure_error_rate
from bigfoot.measure.speed import ModelSpeed, count_all_threads, measure_speed, name_processor
from bigfoot.pipeline.comparison_plan import CONTROLS, TEACHER, PlannedRun
from bigfoot.pipeline.run import needs_same_data
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.trial import Trial, read_trial
from bigfoot.report.methods import MethodComparison, MethodRow
from bigfoot.report.render import format_seconds

_OUTPUT = "output.txt"


@dataclass
class RunOutcomes:
    """What became of the planned runs.

    Args:
        trials: those that came to their end.
        failed: why the others did not, a sentence each.
    """

    trials: list[tuple[PlannedRun, Trial]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def run_planned(plan: Sequence[PlannedRun], jobs: int, tell: Callable[[str], None]) -> RunOutcomes:
    """Run all that is not done yet, each in a process of its own with its output in ``output.txt`` in its folder.

    The teacher's come first, since they make the data of their seed, which the others find made. A run that fails
    costs that run.

    Args:
        plan: of ``plan_runs``.
        jobs: so many at once, 1 or more.
        tell: takes a line a run, with the time that is left.

    Returns:
        What came of each.
    """
    ended: dict[str, Trial | str] = {}
    todo = [run for run in plan if not _note_done(run, ended)]
    if done := len(plan) - len(todo):
        tell(f"{done} of {len(plan)} runs are done already")
    pace = _Pace(len(todo), tell)
    children = _Children()
    try:
        for wave in ([r for r in todo if r.name == TEACHER], [r for r in todo if r.name != TEACHER]):
            _link_data(plan, wave)
            with ThreadPoolExecutor(jobs) as pool:
                for run, result in zip(wave, pool.map(lambda run: children.run(run, pace), wave), strict=True):
                    ended[run.label] = result
    finally:
        children.stop()
    outcomes = RunOutcomes()
    for run in plan:
        result = ended[run.label]
        if isinstance(result, Trial):
            outcomes.trials.append((run, result))
        else:
            outcomes.failed.append(f"{run.label}: {result}")
    return outcomes


def _note_done(run: PlannedRun, ended: dict[str, Trial | str]) -> bool:
    trial = read_trial(run.folder, run.key)
    if trial is not None:
        ended[run.label] = trial
    return trial is not None


def _link_data(plan: Sequence[PlannedRun], wave: Sequence[PlannedRun]) -> None:
    """Let runs read the manifests that their seed's teacher has made, where theirs would be the same."""
    teachers = {run.seed: run for run in plan if run.name == TEACHER}
    for run in wave:
        made, wanted = teachers[run.seed].folder / "data", run.folder / "data"
        if run.name == TEACHER or wanted.exists() or not made.is_dir():
            continue
        if needs_same_data(run.config, teachers[run.seed].config):
            wanted.parent.mkdir(parents=True, exist_ok=True)
            wanted.unlink(missing_ok=True)  # a link to what is gone
            wanted.symlink_to(os.path.relpath(made, wanted.parent), target_is_directory=True)


class _Pace:
    """Counts runs and says how long the rest will take."""

    def __init__(self, total: int, tell: Callable[[str], None]) -> None:
        self._began, self._done, self._total, self._tell = time.monotonic(), 0, total, tell
        self._lock = threading.Lock()

    def ended(self, run: PlannedRun, how: str) -> None:
        with self._lock:
            self._done += 1
            left = (time.monotonic() - self._began) / self._done * (self._total - self._done)
            rest = f"; about {format_seconds(left)} left" if self._done < self._total else ""
            self._tell(f"[{self._done}/{self._total}] {run.label}: {how}{rest}")


class _Children:
    """Processes that run trials, none of which outlives the comparison."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []
        self._stopped = False

    def run(self, run: PlannedRun, pace: _Pace) -> Trial | str:
        """The trial, or why there is none."""
        run.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "bigfoot.pipeline.trial", "--config", run.config_path, "--key", run.key]
        # Threads of other libraries too: two runs that share two processors with two threads each crawl.
        threads = {} if run.config.threads is None else {"OMP_NUM_THREADS": str(run.config.threads)}
        began = time.monotonic()
        with (run.folder / _OUTPUT).open("wb") as output:
            if self._stopped:
                return "not begun"
            child = subprocess.Popen(
                [*command, *run.overrides], stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **threads}
            )
            self._running.append(child)
            status = child.wait()
        trial = read_trial(run.folder, run.key) if status == 0 else None
        took = format_seconds(time.monotonic() - began)
        if trial is None:
            reason = f"failed after {took} (exit {status}): {_last_line(run)}; see {run.folder / _OUTPUT}"
            pace.ended(run, reason)
            return reason
        start = "" if trial.start_wer is None else f" from {trial.start_wer:.1%}"
        pace.ended(run, f"WER{start} {'to ' if start else ''}{trial.wer:.1%} in {took}")
        return trial

    def stop(self) -> None:
        self._stopped = True
        for child in self._running:
            if child.poll() is None:
                child.terminate()


def _last_line(run: PlannedRun) -> str:
    lines = (run.folder / _OUTPUT).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def gather_rows(outcomes: RunOutcomes, speed_rounds: int, conditions: list[str]) -> MethodComparison:
    """Put the trials of each method together, and time the first seed's models beside each other.

    Args:
        outcomes: of ``run_planned``; without the teacher of a seed, that seed's difference to it is not known.
        speed_rounds: interleaved rounds.
        conditions: what a reader must know, put before what is known here.

    Returns:
        A row a method.
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
