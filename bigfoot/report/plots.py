"""Draw the figures of a report: WER against size and speed, MACs by part, and the losses of training.

Figures are created without pyplot, which keeps every open figure in a global and selects a window system.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bigfoot.report.labels import DOTS_PER_INCH, place_labels
from bigfoot.report.pareto import find_pareto_front
from bigfoot.report.rows import Row
from bigfoot.report.svg import printable
from bigfoot.report.tables import name_parts, pick_models

if TYPE_CHECKING:  # matplotlib is slow to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


COLOURS = ("#0072b2", "#d55e00", "#007a5a", "#b0508a", "#8c6d31", "#5b3fa0", "#2f8fb5", "#7a1f1f")
"""After Okabe and Ito, for colour-blind readers; darkened, so that text in these colours can be read."""
TEACHER_COLOUR = "#222222"

NOT_LOSSES = frozenset({
    "step", "epoch", "dev_wer", "dev_cer", "dev_score", "since_best", "blank_rate", "learning_rate", "grad_norm",
    "seconds", "time",
})  # fmt: skip
"""Fields of a training record that are not loss terms."""

# White hatches over the colours of the parts, which distinguish them without colour too.
_HATCHES = ("", "///", "...", "xxx", "\\\\\\", "+++")
_MARKER_RADIUS = {True: 8.0, False: 4.5}
"""In points; the teacher's star is the larger."""


def render_png(figure: Figure) -> bytes:
    """Render a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    return buffer.getvalue()


@dataclass(frozen=True)
class _Horizontal:
    """Horizontal axis of a WER plot.

    Args:
        label: of the axis.
        missing: a word for the quantity, in notes on rows without it.
        values: one per row, None if missing.
        lows: lower ends of their intervals, None if missing.
        highs: upper ends.
        more_is_better: whether better models are to the right.
    """

    label: str
    missing: str
    values: Sequence[float | None]
    lows: Sequence[float | None]
    highs: Sequence[float | None]
    more_is_better: bool = False


def draw_wer_vs_size(
    rows: Sequence[Row],
    groups: Sequence[str] | None = None,
    panel_width: float = 5.6,
    front: Sequence[bool] | None = None,
) -> Figure:
    """Draw WER in percent, with intervals, against size, a panel for each split.

    Size is MB on disk, which also shows the effect of quantization, or millions of unique parameters if bytes are
    missing. Rows without WER or size are skipped and counted under the axis; the teacher is a star.

    Args:
        rows: to draw.
        groups: group of each row, for colours and a legend; by default every model has its own colour.
        panel_width: of a split, in inches; a single panel is 1.4 inches wider.
        front: group of each row for Pareto fronts; no front without it.

    Returns:
        The figure; without data, a note.

    Examples:
        >>> from bigfoot.report.rows import Row
        >>> figure = draw_wer_vs_size([Row("teacher", "teacher", "test", wer=0.04, size_bytes=4_000_000)])
        >>> figure.axes[0].get_xlabel()
        'size on disk (MB)'
    """
    use_bytes = all(_is_number(row.size_bytes) for row in rows if _is_number(row.wer))
    sizes = [_divide(row.size_bytes, 1e6) if use_bytes else _divide(row.num_unique_params, 1e6) for row in rows]
    label = "size on disk (MB)" if use_bytes else "unique parameters (millions)"
    none = [None] * len(rows)
    return _draw_wer_against(_Horizontal(label, "size", sizes, none, none), rows, groups, panel_width, front)


def draw_wer_vs_speed(
    rows: Sequence[Row],
    groups: Sequence[str] | None = None,
    panel_width: float = 5.6,
    front: Sequence[bool] | None = None,
) -> Figure:
    """Draw WER in percent against the speedup over the teacher, both with intervals.

    Args:
        rows: see ``draw_wer_vs_size``; rows without WER or speedup are skipped and counted.
        groups: see there.
        panel_width: see there.
        front: see there.

    Returns:
        The figure; without data, a note.

    Examples:
        >>> from bigfoot.report.rows import Row
        >>> figure = draw_wer_vs_speed([Row("distill", "distill", "test", wer=0.04, speedup=2.0)])
        >>> figure.axes[0].get_xlabel()
        'times faster than the teacher, one thread'
    """
    values, lows, highs = (
        [_divide(value, 1.0) for value in column]
        for column in zip(*((row.speedup, row.speedup_low, row.speedup_high) for row in rows), strict=True)
    ) if rows else ([], [], [])  # fmt: skip
    speed = _Horizontal("times faster than the teacher, one thread", "speed", values, lows, highs, more_is_better=True)
    return _draw_wer_against(speed, rows, groups, panel_width, front)


def _draw_wer_against(
    horizontal: _Horizontal,
    rows: Sequence[Row],
    groups: Sequence[str] | None,
    panel_width: float,
    front: Sequence[bool] | None,
) -> Figure:
    """Draw a panel for each split; see ``draw_wer_vs_size``."""
    from matplotlib.figure import Figure

    drawn = [index for index, row in enumerate(rows) if _is_number(row.wer) and horizontal.values[index] is not None]
    splits = list(dict.fromkeys(rows[index].split for index in drawn))
    figure = Figure(figsize=(max(panel_width + 1.4, panel_width * len(splits)), 4.8), layout="constrained")
    if not splits:
        _note_no_data(figure, f"no row has both a WER and a {horizontal.missing}")
        return figure
    keys = groups or [row.name for row in rows]
    names = list(dict.fromkeys(key for key, row in zip(keys, rows, strict=True) if groups or not row.is_teacher))
    for axes, split in zip(figure.subplots(1, len(splits), squeeze=False)[0], splits, strict=True):
        here = [index for index in drawn if rows[index].split == split]
        colours = [
            TEACHER_COLOUR if rows[i].is_teacher and not groups else COLOURS[names.index(keys[i]) % len(COLOURS)]
            for i in here
        ]
        axes.set_title(_escape_label(split))
        axes.set_ylabel("WER (%)")
        axes.set_xlabel(horizontal.label)
        if front is not None:
            _draw_front(axes, [index for index in here if front[index]], rows, horizontal)
        _draw_points(axes, here, rows, horizontal, colours)
    if groups:
        _add_group_legend(figure, names)
    missing = len(rows) - len(drawn)
    if missing:
        note = f"{missing} without WER or {horizontal.missing} not drawn"
        figure.text(0.995, 0.005, note, ha="right", fontsize=7, color="0.4")
    place_labels(figure, _MARKER_RADIUS[True])
    return figure


def draw_macs_by_part(rows: Sequence[Row], width: float = 7.0) -> Figure:
    """Draw the multiply-accumulates per second of audio of each model as one bar, stacked by part.

    Args:
        rows: to draw, one bar per model; rows without MACs by part are skipped.
        width: of the figure, in inches.

    Returns:
        The figure, the first model at the top; without data, a note.

    Examples:
        >>> from bigfoot.report.rows import Row
        >>> figure = draw_macs_by_part([Row("teacher", "teacher", "test", macs_by_part={"conv": 2_000_000_000})])
        >>> float(figure.axes[0].patches[0].get_width())
        2.0
    """
    from matplotlib.figure import Figure

    models = pick_models(rows)
    figure = Figure(figsize=(width, 1.3 + 0.38 * max(1, len(models))), layout="constrained")
    if not models:
        _note_no_data(figure, "no MACs by part were measured")
        return figure
    axes = figure.subplots()
    places, ends = range(len(models)), [0.0] * len(models)
    for index, part in enumerate(name_parts(models)):
        lengths = [(_divide(row.macs_by_part.get(part), 1e9) or 0.0) for row in models]
        colour, hatch = COLOURS[index % len(COLOURS)], _HATCHES[index % len(_HATCHES)]
        label = _escape_label(part.replace("_", " "))
        axes.barh(places, lengths, 0.7, ends, color=colour, hatch=hatch, edgecolor="white", linewidth=0.5, label=label)
        ends = [end + length for end, length in zip(ends, lengths, strict=True)]
    for place, end in zip(places, ends, strict=True):
        axes.annotate(f"{end:.3g}", (end, place), textcoords="offset points", xytext=(4, 0), va="center", fontsize=8)
    axes.set_yticks(places)
    axes.set_yticklabels([_escape_label(row.name) for row in models])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("GMACs per second of audio")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    return figure


def draw_losses(losses: Mapping[str, Sequence[Mapping[str, Any]]], width: float = 8.0) -> Figure:
    """Draw the terms of the loss over the steps, a panel for each training step, with dev WER and blank rate.

    Args:
        losses: by training step, its records: ``step``, terms by name, ``dev_wer`` and ``blank_rate`` (fractions)
            in those with an evaluation on dev. A null or non-finite term leaves a gap.
        width: of the figure, in inches; determines the columns of legends.

    Returns:
        The figure; without data, a note.

    Examples:
        >>> figure = draw_losses({"distill": [{"step": 10, "ctc": 2.0}, {"step": 20, "ctc": 1.5, "dev_wer": 0.9}]})
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['loss', '%']
    """
    from matplotlib.figure import Figure

    stages = {name: records for name, records in losses.items() if any(_is_number(r.get("step")) for r in records)}
    figure = Figure(figsize=(width, max(1, len(stages)) * 3.2 + 0.4), layout="constrained")
    if not stages:
        _note_no_data(figure, "no losses were recorded")
        return figure
    panels = figure.subplots(len(stages), 1, squeeze=False)[:, 0]
    for axes, (name, records) in zip(panels, stages.items(), strict=True):
        ordered = sorted((r for r in records if _is_number(r.get("step"))), key=lambda record: record["step"])
        _draw_stage(axes, name, ordered, max(2, round(5 * width / 8.0)))
    panels[-1].set_xlabel("optimizer step")
    return figure


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _divide(value: float | None, unit: float) -> float | None:
    return value / unit if value is not None and _is_number(value) else None


def _escape_label(name: str) -> str:
    """Escape a label: matplotlib parses text between two dollars as a formula."""
    return printable(name).replace("$", r"\$")


def _note_no_data(figure: Figure, reason: str) -> None:
    figure.text(0.5, 0.5, f"nothing to draw: {reason}", ha="center", va="center", color="0.4")


def _draw_points(
    axes: Axes, drawn: Sequence[int], rows: Sequence[Row], horizontal: _Horizontal, colours: Sequence[str]
) -> None:
    # From the highest WER down, so that labels of points in a column are in the same order.
    points = sorted(zip(drawn, colours, strict=True), key=lambda point: -(rows[point[0]].wer or 0.0))
    for index, colour in points:
        row, x = rows[index], horizontal.values[index]
        y, low, high = (_divide(value, 0.01) for value in (row.wer, row.wer_low, row.wer_high))
        assert x is not None and y is not None  # the caller skips rows without one
        marker, area = "*" if row.is_teacher else "o", 3 * _MARKER_RADIUS[row.is_teacher] ** 2
        sides, ends = _lengths(x, horizontal.lows[index], horizontal.highs[index]), _lengths(y, low, high)
        if sides or ends:
            axes.errorbar([x], [y], ends, sides, fmt="none", ecolor=colour, capsize=3, alpha=0.6, lw=1.2)
        axes.scatter([x], [y], s=area, marker=marker, color=colour, edgecolors="white", linewidths=0.8, zorder=3)
        line = {"arrowstyle": "-", "color": colour, "lw": 0.7, "shrinkA": 0, "shrinkB": 3}
        axes.annotate(
            _escape_label(row.name), (x, y), textcoords="offset points", xytext=(9, 0), fontsize=8, color=colour,
            arrowprops=line,
        )  # fmt: skip
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.18, y=0.15)
    wers = [100 * value for i in drawn for value in (rows[i].wer, rows[i].wer_low) if value is not None]
    _scale_axes(axes, [value for i in drawn if (value := horizontal.values[i]) is not None], wers)


def _draw_front(axes: Axes, drawn: Sequence[int], rows: Sequence[Row], horizontal: _Horizontal) -> None:
    """Draw a Pareto front as steps: its corners are models, without interpolation between them."""
    values, wers = [horizontal.values[i] or 0.0 for i in drawn], [rows[i].wer or 0.0 for i in drawn]
    costs = [-value for value in values] if horizontal.more_is_better else values
    on_it = find_pareto_front(costs, wers)
    corners = sorted((x, 100 * y) for x, y, is_on in zip(values, wers, on_it, strict=True) if is_on)
    if corners:
        xs, ys = zip(*corners, strict=True)
        # A corner's WER is the lowest up to the cost of the next corner.
        steps = "steps-pre" if horizontal.more_is_better else "steps-post"
        axes.plot(xs, ys, drawstyle=steps, color="0.6", lw=1.2, ls="--", zorder=1)


def _lengths(value: float, low: float | None, high: float | None) -> list[list[float]] | None:
    """Return the lengths of both sides of an error bar; None without an interval."""
    if low is None or high is None:
        return None
    # A bootstrap interval need not contain the rate itself, and matplotlib rejects negative lengths.
    return [[max(value - low, 0.0)], [max(high - value, 0.0)]]


def _scale_axes(axes: Axes, sizes: Sequence[float], wers: Sequence[float]) -> None:
    """Start the axes at 0, or use a log scale if one value is many times the others."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter, SymmetricalLogLocator

    if min(sizes) > 0 and max(sizes) / min(sizes) > 8:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(left=0)
    # An untrained student has a WER near 100 %, which would compress all others on a linear scale.
    if max(wers) <= 8 * max(min(wers), 1.0):
        axes.set_ylim(bottom=0)
        return
    if min(wers) >= 0.5:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    else:  # linear below 1 %, so that a WER of 0 is visible
        axes.set_yscale("symlog", linthresh=1.0)
        axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1.0, subs=[1, 2, 5]))
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _add_group_legend(figure: Figure, names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], marker="o", linestyle="", color=COLOURS[index % len(COLOURS)], label=_escape_label(name))
        for index, name in enumerate(names)
    ]
    figure.legend(handles=marks, loc="outside upper center", ncols=min(3, len(marks)), fontsize=8, frameon=False)


def _draw_stage(axes: Axes, title: str, records: Sequence[Mapping[str, Any]], num_columns: int) -> None:
    terms = [name for name in dict.fromkeys(key for r in records for key in r) if _is_term(name, records)]
    positive: list[float] = []
    for index, name in enumerate(terms):
        present = [record for record in records if name in record]
        values = [record[name] if _is_number(record[name]) else math.nan for record in present]
        positive += [value for value in values if not math.isnan(value)]
        # A dot for a value without a neighbour to draw a line to.
        marker = "." if len(values) < 30 else ""
        colour, label = COLOURS[index % len(COLOURS)], _escape_label(name)
        axes.plot([r["step"] for r in present], values, color=colour, lw=1.3, marker=marker, markersize=3, label=label)
    if positive and min(positive) > 0 and max(positive) / min(positive) > 30:
        axes.set_yscale("log")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.25)
    axes.spines["top"].set_visible(False)
    twin = _draw_dev(axes, records)
    handles, labels = axes.get_legend_handles_labels()
    if twin is not None:
        more_handles, more_labels = twin.get_legend_handles_labels()
        handles, labels = handles + more_handles, labels + more_labels
    # Above the panel, clear of the curves; the panel's name is the title of the legend, so that they never overlap.
    legend = axes.legend(handles, labels, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=num_columns, fontsize=8)
    legend.set_title(_escape_label(title))
    legend.set_alignment("left")
    legend.set_frame_on(False)


def _is_term(name: str, records: Sequence[Mapping[str, Any]]) -> bool:
    values = [record[name] for record in records if name in record]
    return name not in NOT_LOSSES and any(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _draw_dev(axes: Axes, records: Sequence[Mapping[str, Any]]) -> Axes | None:
    """Draw dev WER, blank rate and the score of a task on a second axis, to the right; None if there are none."""
    curves = {
        label: [(r["step"], 100 * r[key]) for r in records if _is_number(r.get(key))]
        for key, label in (("dev_wer", "dev WER"), ("blank_rate", "blank rate"), ("dev_score", "dev score"))
    }
    # An error in the units of what is measured is no share.
    curves["dev score"] = [point for point in curves["dev score"] if abs(point[1]) <= 100]
    if not any(curves.values()):
        return None
    twin = axes.twinx()
    styles = (("black", "o"), ("0.55", "s"), ("black", "d"))
    for (label, points), (colour, marker) in zip(curves.items(), styles, strict=True):
        if points:
            steps, values = zip(*points, strict=True)
            twin.plot(steps, values, color=colour, ls="--", marker=marker, markersize=3.5, lw=1, label=f"{label} (%)")
    twin.set_ylabel("%")
    # A run that starts with a WER of several hundred percent would compress the relevant range.
    twin.set_ylim(0, min(max(value for points in curves.values() for _, value in points) * 1.08 + 1, 130))
    twin.spines["top"].set_visible(False)
    return twin
