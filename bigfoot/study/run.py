"""Execute the planned runs of a comparison, several in parallel, each in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from bigfoot.pipeline.inputs import needs_same_data
from bigfoot.report.numbers import format_seconds
from bigfoot.study.inputs import digest_inputs
from bigfoot.study.plan import TEACHER, PlannedRun
from bigfoot.study.trial import Trial, read_trial

_OUTPUT = "output.txt"


@dataclass
class RunOutcomes:
    """Results of the planned runs.

    Args:
        trials: of the finished runs.
        failed: reasons of the others, one sentence each.
    """

    trials: list[tuple[PlannedRun, Trial]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def run_planned(plan: Sequence[PlannedRun], jobs: int, on_progress: Callable[[str], None]) -> RunOutcomes:
    """Execute the runs that are not done yet, each in its own process with its output in ``output.txt`` in its folder.

    The teacher's runs come first: they prepare the data of their seed, which the others reuse. A failed run does not
    stop the others.

    Args:
        plan: of ``plan_runs``.
        jobs: number of parallel processes, 1 or more.
        on_progress: called with one line per run, with the remaining time.

    Returns:
        See ``RunOutcomes``.
    """
    ended: dict[str, Trial | str] = {}
    todo = [run for run in plan if not _note_done(run, ended, on_progress)]
    if done := len(plan) - len(todo):
        on_progress(f"{done} of {len(plan)} runs are done already")
    pace = _Pace(len(todo), on_progress)
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


def _note_done(run: PlannedRun, ended: dict[str, Trial | str], on_progress: Callable[[str], None]) -> bool:
    trial = read_trial(run.folder, run.key, lambda reason: on_progress(f"{run.label}: {reason}; it is run again"))
    if trial is None:
        return False
    if not trial.inputs or trial.inputs != digest_inputs(run.config, trial.model):
        on_progress(f"{run.label}: its corpus, or a file that it was made of, has changed since; it is run again")
        return False
    ended[run.label] = trial
    return True


def _link_data(plan: Sequence[PlannedRun], wave: Sequence[PlannedRun]) -> None:
    """Let runs read the manifests that their seed's teacher prepared, where theirs would be the same."""
    teachers = {run.seed: run for run in plan if run.name == TEACHER}
    for run in wave:
        made, wanted = teachers[run.seed].folder / "data", run.folder / "data"
        if run.name == TEACHER or wanted.exists() or not made.is_dir():
            continue
        if needs_same_data(run.config, teachers[run.seed].config):
            wanted.parent.mkdir(parents=True, exist_ok=True)
            wanted.unlink(missing_ok=True)  # a dangling link
            wanted.symlink_to(os.path.relpath(made, wanted.parent), target_is_directory=True)


class _Pace:
    """Counts runs and estimates the remaining time."""

    def __init__(self, total: int, on_progress: Callable[[str], None]) -> None:
        self._began, self._done, self._total, self._on_progress = time.monotonic(), 0, total, on_progress
        self._lock = threading.Lock()

    def ended(self, run: PlannedRun, how: str) -> None:
        with self._lock:
            self._done += 1
            left = (time.monotonic() - self._began) / self._done * (self._total - self._done)
            rest = f"; about {format_seconds(left)} left" if self._done < self._total else ""
            self._on_progress(f"[{self._done}/{self._total}] {run.label}: {how}{rest}")


class _Children:
    """Processes that run trials; none outlives the comparison."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []
        self._stopped = False

    def run(self, run: PlannedRun, pace: _Pace) -> Trial | str:
        """Return the trial, or why there is none."""
        run.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "bigfoot.study.trial", "--config", run.config_path, "--key", run.key]
        # Threads of other libraries too: two runs that share two processors with two threads each crawl.
        threads = {} if run.config.threads is None else {"OMP_NUM_THREADS": str(run.config.threads)}
        began = time.monotonic()
        with (run.folder / _OUTPUT).open("wb") as output:
            if self._stopped:
                return "not started"
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
    return lines[-1] if lines else "no output"
