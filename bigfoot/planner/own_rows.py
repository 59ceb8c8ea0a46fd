"""Rows of a user's own runs, from which the error of a student is expected in place of ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bigfoot.config.problems import Problem
from bigfoot.errors import ConfigError
from bigfoot.planner.expected import FEWEST_ROWS
from bigfoot.planner.known import KnownRow
from bigfoot.report.rows import Report, load_report


def read_own_rows(runs: Sequence[str]) -> list[KnownRow]:
    """Read the trained students of run folders: the last model of each run, on its first split after dev, greedy.

    Args:
        runs: run folders, or the report folders in them.

    Raises:
        DataError: one has no report.
        ConfigError: fewer students than a regression needs.
    """
    rows = [row for run in runs for row in _read_rows(run)]
    if len(rows) < FEWEST_ROWS:
        message = f"{len(rows)} trained students in these runs; a regression needs {FEWEST_ROWS} or more"
        raise ConfigError([Problem("--results", "too_few", message)])
    return rows


def _read_rows(run: str) -> Iterator[KnownRow]:
    folder = Path(run)
    report = load_report(folder / "report" if (folder / "report").is_dir() else folder)
    splits = [row.split for row in report.rows if row.split != "dev"] or ["dev"]
    yield from _last_student(report, splits[0], run)


def _last_student(report: Report, split: str, run: str) -> Iterator[KnownRow]:
    rows = [row for row in report.rows if row.split == split and row.decoder == "greedy"]
    whole = next((row.macs_per_second for row in rows if row.is_teacher), None)
    trained = [row for row in rows if row.wer_difference is not None and not row.step.startswith("ctc_only")]
    if not whole or not trained:
        return
    last = trained[-1]
    ends = (last.wer_difference, last.wer_difference_low, last.wer_difference_high)
    if last.macs_per_second is None or None in ends:
        return
    points, low, high = (100 * end for end in ends if end is not None)
    yield KnownRow(last.name, whole / last.macs_per_second, points, low, high, run)
