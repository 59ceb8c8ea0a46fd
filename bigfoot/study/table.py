"""Comparison of methods over seeds: a table sorted by WER, and the Pareto fronts."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bigfoot.report.files import encode_json, encode_text, write_set
from bigfoot.report.numbers import MISSING, format_number, format_percent, format_seconds
from bigfoot.report.pareto import find_pareto_front
from bigfoot.report.plots import draw_wer_vs_size, draw_wer_vs_speed, render_png
from bigfoot.report.render import render_table
from bigfoot.report.rows import Row
from bigfoot.report.spreadsheet import render_csv

OTHER_MARK = "*"


@dataclass(frozen=True)
class MethodRow:
    """A method over its seeds; rates are fractions.

    Args:
        name: of the method; ``teacher`` for the model that all are compressed from.
        wer: errors over words, pooled over seeds.
        wer_low: lower end of its 95 % interval.
        wer_high: upper end.
        wer_by_seed: one per seed.
        num_params: unique ones, mean over seeds, without projections of training.
        macs_per_second: of audio, the mean over seeds.
        kind: ``teacher``, ``method``, ``control`` or ``other``; the last has fewer steps.
        start: row of the model as first initialized from the teacher.
        start_wer: of that model, mean over seeds.
        wer_difference: WER minus the teacher's on the same utterances.
        wer_difference_low: lower end of its 95 % interval.
        wer_difference_high: upper end.
        speedup: time of the teacher over this model's, one thread, interleaved rounds, the first seed's model.
        speedup_low: lower quartile of the rounds.
        speedup_high: upper quartile.
        train_seconds: of all training steps, the mean over seeds.
        steps: optimizer steps by training step.
        losses: by training step, first and final loss, means over seeds.
        front: the fronts that it is on: of WER and ``size``, of WER and ``speed``.
    """

    name: str
    wer: float
    wer_low: float | None
    wer_high: float | None
    wer_by_seed: list[float]
    num_params: float
    macs_per_second: float
    kind: str = "method"
    start: str = ""
    start_wer: float | None = None
    wer_difference: float | None = None
    wer_difference_low: float | None = None
    wer_difference_high: float | None = None
    speedup: float | None = None
    speedup_low: float | None = None
    speedup_high: float | None = None
    train_seconds: float | None = None
    steps: dict[str, int] = field(default_factory=dict)
    losses: dict[str, list[float]] = field(default_factory=dict)
    front: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class MethodComparison:
    """All methods and how they were compared.

    Args:
        rows: in any order.
        conditions: protocol, decoder, split, command and machine, a sentence each.
        failed: runs that failed, and why.
    """

    rows: list[MethodRow]
    conditions: list[str]
    failed: list[str] = field(default_factory=list)


def mark_fronts(rows: Sequence[MethodRow]) -> list[MethodRow]:
    """Sort rows by WER and mark those on the Pareto fronts of size and of speed.

    Rows of fewer steps are on no front and do not affect it.

    Args:
        rows: in any order.

    Examples:
        >>> rows = [MethodRow("b", 0.2, None, None, [0.2], 1e6, 1e8), MethodRow("a", 0.1, None, None, [0.1], 1e6, 1e8)]
        >>> [(row.name, row.front) for row in mark_fronts(rows)]
        [('a', ['size']), ('b', [])]
    """
    ordered = sorted(rows, key=lambda row: row.wer)
    equal = [row for row in ordered if row.kind != "other"]
    fronts: dict[str, list[str]] = {row.name: [] for row in equal}
    # A missing speed is NaN, and so on no front.
    slowness = [-row.speedup if row.speedup is not None else float("nan") for row in equal]
    for what, costs in (("size", [row.num_params for row in equal]), ("speed", slowness)):
        for row, on_it in zip(equal, find_pareto_front(costs, [row.wer for row in equal]), strict=True):
            fronts[row.name] += [what] * on_it
    return [dataclasses.replace(row, front=fronts.get(row.name, [])) for row in ordered]


def save_methods(comparison: MethodComparison, folder: str | Path) -> None:
    """Write ``comparison.{md,csv,json}``, ``wer_vs_params.png`` and ``wer_vs_speed.png``, each whole or not at all.

    Args:
        comparison: what to write.
        folder: where, made if it is missing.
    """
    comparison = dataclasses.replace(comparison, rows=mark_fronts(comparison.rows))
    drawn = [_as_row(row) for row in comparison.rows]
    equal = [row.kind != "other" for row in comparison.rows]
    contents = {
        "comparison.md": encode_text(render_methods(comparison)),
        "comparison.csv": encode_text(render_csv(comparison.rows)),
        "wer_vs_params.png": render_png(draw_wer_vs_size(drawn, panel_width=6.4, front=equal)),
        "wer_vs_speed.png": render_png(draw_wer_vs_speed(drawn, panel_width=6.4, front=equal)),
        "comparison.json": encode_json(dataclasses.asdict(comparison)),
    }
    write_set(folder, contents, sign="comparison.json")


def _as_row(row: MethodRow) -> Row:
    """Convert a row for the plots of reports."""
    facts: dict[str, Any] = {name: getattr(row, name) for name in (
        "wer", "wer_low", "wer_high", "speedup", "speedup_low", "speedup_high",
    )}  # fmt: skip
    return Row(name_method(row), row.kind, "test", num_unique_params=round(row.num_params), **facts)


def name_method(row: MethodRow) -> str:
    """Return the displayed name: a control is labelled, and a row of fewer steps is marked."""
    if row.kind == "control":
        return f"control: {row.name.replace('_', ' ')}"
    return row.name + OTHER_MARK * (row.kind == "other")


def render_methods(comparison: MethodComparison) -> str:
    """Write the comparison as Markdown: conditions, the table sorted by WER, what its columns mean, what failed.

    Args:
        comparison: of ``mark_fronts``, or in any order.
    """
    rows = mark_fronts(comparison.rows)
    lines = ["# Methods beside each other", "", *(f"- {sentence}" for sentence in comparison.conditions), ""]
    cells = [[write(row) for write in _COLUMNS.values()] for row in rows]
    lines += [*render_table(list(_COLUMNS), cells), "", LEGEND, ""]
    if any(row.kind == "other" for row in rows):
        lines += [f"{OTHER_MARK} one seed and fewer steps: not to be compared with the rest, and on no front.", ""]
    if comparison.failed:
        lines += ["## What failed", "", *(f"- {each}" for each in comparison.failed), ""]
    return "\n".join(lines).rstrip() + "\n"


def _interval(row: MethodRow) -> str:
    if row.wer_low is None or row.wer_high is None:
        return format_percent(row.wer)
    return f"{format_percent(row.wer)} [{format_percent(row.wer_low)}, {format_percent(row.wer_high)}]"


def _range(row: MethodRow) -> str:
    if len(row.wer_by_seed) == 1:
        return "one seed"
    mean, low, high = statistics.fmean(row.wer_by_seed), min(row.wer_by_seed), max(row.wer_by_seed)
    return f"{format_percent(mean)} [{format_percent(low)}, {format_percent(high)}] of {len(row.wer_by_seed)}"


def _difference(row: MethodRow) -> str:
    if row.wer_difference is None:
        return "" if row.kind == "teacher" else MISSING
    ends = [row.wer_difference, row.wer_difference_low, row.wer_difference_high]
    point, low, high = (MISSING if end is None else f"{100 * end:+.2f}" for end in ends)
    return f"{point} [{low}, {high}]"


def _speed(row: MethodRow) -> str:
    if row.speedup is None:
        return MISSING
    return f"{row.speedup:.2f}x [{format_number(row.speedup_low)}, {format_number(row.speedup_high)}]"


def _trained(row: MethodRow) -> str:
    return " + ".join(str(count) for count in row.steps.values())


def _losses(row: MethodRow) -> str:
    return ", ".join(f"{format_number(first)} to {format_number(last)}" for first, last in row.losses.values())


def _start(row: MethodRow) -> str:
    return "" if row.start_wer is None else f"{format_percent(row.start_wer)} ({row.start})"


_COLUMNS: dict[str, Callable[[MethodRow], str]] = {
    "method": name_method,
    "WER % [95 %]": _interval,
    "mean and range over seeds": _range,
    "points over the teacher [95 %]": _difference,
    "parameters M": lambda row: format_number(row.num_params / 1e6),
    "GMACs/s": lambda row: format_number(row.macs_per_second / 1e9),
    "faster, 1 thread [quartiles]": _speed,
    "on the front of": lambda row: ", ".join(row.front),
    "WER % at the start": _start,
    "steps": _trained,
    "losses, from and to": _losses,
    "training": lambda row: "" if row.train_seconds is None else format_seconds(row.train_seconds),
}

LEGEND = (
    "Sorted by WER, the errors over the words of all seeds together; its interval by bootstrap over the utterances of "
    "all seeds, the difference to the teacher paired on the same. Parameters as deployed. Faster: the time of the "
    "teacher over the model's, median and quartiles of interleaved rounds in one process, the first seed's models. On "
    "the front: no other is as small (as fast) and as good, and better in one of the two. At the start: as first cut "
    "out of the teacher, before it was trained (of gates: as they left it). Steps: the optimizer's, training by "
    "training, the last one fine-tuning; losses likewise, each method's own and not comparable between methods."
)
