"""The two pictures of a report: WER against size, and the losses of training.

Figures are made without pyplot, which keeps every open figure in a global and picks a window system.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # rows imports this module to save what it draws; matplotlib is slow to import
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

    from bigfoot.report.rows import Row

COLOURS = ("#0072b2", "#d55e00", "#007a5a", "#b0508a", "#8c6d31", "#5b3fa0", "#2f8fb5", "#7a1f1f")
"""After Okabe and Ito's colours, which colour-blind readers tell apart, darkened so that text in them can be read."""
TEACHER_COLOUR = "#222222"

NOT_LOSSES = frozenset(
    {"step", "epoch", "dev_wer", "dev_cer", "blank_rate", "learning_rate", "grad_norm", "seconds", "time"}
)
"""Numbers of a training record that are no term of the loss."""

_DOTS_PER_INCH = 130
# Where the middle of a label's near edge may stand, (horizontal, vertical) in points from its point: beside it, then
# beside it and higher or lower, then above and below.
_LABEL_OFFSETS = (
    *((side * (9 + abs(y) / 3), y) for y in (0, 5, -5, 10, -10, 16, -16, 24, -24, 34, -34, 46) for side in (1, -1)),
    *((0, y) for y in (14, -14, 30, -30)),
)
_MARKER_RADIUS = {True: 8.0, False: 4.5}
"""In points; the teacher's star is the larger."""


def render_png(figure: Figure) -> bytes:
    """Draw a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH)
    return buffer.getvalue()


def draw_wer_vs_size(rows: Sequence[Row], groups: Sequence[str] | None = None) -> Figure:
    """Draw WER in percent, with intervals, against size, a panel for each split.

    Size is MB on disk, which also shows what quantizing saves, or millions of unique parameters where bytes are
    missing. Rows without WER or size are left out and counted under the axis; the teacher is a star.

    Args:
        rows: what to draw.
        groups: what to colour by, one word a row, with a legend; by default every model has its own colour.

    Returns:
        The figure; where there is nothing to draw, it says so.

    Example:
        >>> from bigfoot.report.rows import Row
        >>> figure = draw_wer_vs_size([Row("teacher", "teacher", "test", wer=0.04, size_bytes=4_000_000)])
        >>> figure.axes[0].get_xlabel()
        'size on disk (MB)'
    """
    from matplotlib.figure import Figure

    use_bytes = all(_is_number(row.size_bytes) for row in rows if _is_number(row.wer))
    sizes = [_divide(row.size_bytes, 1e6) if use_bytes else _divide(row.num_unique_params, 1e6) for row in rows]
    drawn = [index for index, row in enumerate(rows) if _is_number(row.wer) and sizes[index] is not None]
    splits = list(dict.fromkeys(rows[index].split for index in drawn))
    figure = Figure(figsize=(max(7.0, 5.6 * len(splits)), 4.8), layout="constrained")
    if not splits:
        _say_nothing_to_draw(figure, "no row has both a WER and a size")
        return figure
    keys = groups or [row.name for row in rows]
    names = list(dict.fromkeys(key for key, row in zip(keys, rows, strict=True) if groups or not row.is_teacher))
    for axes, split in zip(figure.subplots(1, len(splits), squeeze=False)[0], splits, strict=True):
        here = [index for index in drawn if rows[index].split == split]
        colours = [
            TEACHER_COLOUR if rows[i].is_teacher and not groups else COLOURS[names.index(keys[i]) % len(COLOURS)]
            for i in here
        ]
        axes.set_title(split)
        axes.set_ylabel("WER (%)")
        axes.set_xlabel("size on disk (MB)" if use_bytes else "unique parameters (millions)")
        _draw_points(axes, [rows[i] for i in here], [sizes[i] or 0.0 for i in here], colours)
    if groups:
        _add_group_legend(figure, names)
    missing = len(rows) - len(drawn)
    if missing:
        figure.text(0.995, 0.005, f"{missing} without WER or size not drawn", ha="right", fontsize=7, color="0.4")
    _place_labels(figure)
    return figure


def draw_losses(losses: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Draw the terms of the loss over the steps, a panel for each training step, with dev WER and blank rate.

    Args:
        losses: by training step, its records: ``step``, terms by name, ``dev_wer`` and ``blank_rate`` (fractions)
            in those that looked at dev. A term that is null or not finite leaves a gap.

    Returns:
        The figure; where there is nothing to draw, it says so.

    Example:
        >>> figure = draw_losses({"distill": [{"step": 10, "ctc": 2.0}, {"step": 20, "ctc": 1.5, "dev_wer": 0.9}]})
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['loss', '%']
    """
    from matplotlib.figure import Figure

    stages = {name: records for name, records in losses.items() if any(_is_number(r.get("step")) for r in records)}
    figure = Figure(figsize=(8.0, max(1, len(stages)) * 3.2 + 0.4), layout="constrained")
    if not stages:
        _say_nothing_to_draw(figure, "no losses were recorded")
        return figure
    panels = figure.subplots(len(stages), 1, squeeze=False)[:, 0]
    for axes, (name, records) in zip(panels, stages.items(), strict=True):
        ordered = sorted((r for r in records if _is_number(r.get("step"))), key=lambda record: record["step"])
        _draw_stage(axes, name, ordered)
    panels[-1].set_xlabel("optimizer step")
    return figure


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _divide(value: float | None, unit: float) -> float | None:
    return value / unit if value is not None and _is_number(value) else None


def _say_nothing_to_draw(figure: Figure, reason: str) -> None:
    figure.text(0.5, 0.5, f"nothing to draw: {reason}", ha="center", va="center", color="0.4")


def _draw_points(axes: Axes, rows: Sequence[Row], sizes: Sequence[float], colours: Sequence[str]) -> None:
    # From the highest WER down: labels of points that stand in a column then fall into the same order.
    points = sorted(zip(rows, sizes, colours, strict=True), key=lambda point: -(point[0].wer or 0.0))
    for row, size, colour in points:
        wer, low, high = (None if v is None else 100 * v for v in (row.wer, row.wer_low, row.wer_high))
        assert wer is not None  # the caller leaves out rows without one
        marker, area = "*" if row.is_teacher else "o", 3 * _MARKER_RADIUS[row.is_teacher] ** 2
        if low is not None and high is not None and _is_number(low) and _is_number(high):
            # The interval of a bootstrap need not hold the rate itself; a length below 0 is refused.
            lengths = [[max(wer - low, 0.0)], [max(high - wer, 0.0)]]
            axes.errorbar([size], [wer], yerr=lengths, fmt="none", ecolor=colour, capsize=3, alpha=0.6, lw=1.2)
        axes.scatter([size], [wer], s=area, marker=marker, color=colour, edgecolors="white", linewidths=0.8, zorder=3)
        line = {"arrowstyle": "-", "color": colour, "lw": 0.7, "shrinkA": 0, "shrinkB": 3}
        axes.annotate(
            row.name, (size, wer), textcoords="offset points", xytext=(9, 0), fontsize=8, color=colour, arrowprops=line
        )
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.18, y=0.15)
    _scale_axes(axes, sizes, [100 * value for row in rows for value in (row.wer, row.wer_low) if value is not None])


def _scale_axes(axes: Axes, sizes: Sequence[float], wers: Sequence[float]) -> None:
    """Begin the axes at 0, or spread what lies close together where one value is many times the others."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter, SymmetricalLogLocator

    if min(sizes) > 0 and max(sizes) / min(sizes) > 8:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(left=0)
    # A student fresh from the knife errs in every word, and would press all others onto the floor.
    if max(wers) <= 8 * max(min(wers), 1.0):
        axes.set_ylim(bottom=0)
        return
    if min(wers) >= 0.5:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    else:  # linear below 1 %, so that a WER of 0 has a place
        axes.set_yscale("symlog", linthresh=1.0)
        axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1.0, subs=[1, 2, 5]))
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _add_group_legend(figure: Figure, names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], marker="o", linestyle="", color=COLOURS[index % len(COLOURS)], label=name)
        for index, name in enumerate(names)
    ]
    figure.legend(handles=marks, loc="outside upper center", ncols=min(3, len(marks)), fontsize=8, frameon=False)


def _place_labels(figure: Figure) -> None:
    """Move each label to the first place around its point where it covers no marker, no bar and no other label."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(_DOTS_PER_INCH)
    canvas.draw()  # type: ignore[no-untyped-call]  # fixes the layout, without which nothing has a place in pixels
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    for axes in figure.axes:
        inside = axes.get_window_extent(renderer)
        labels = [text for text in axes.texts if isinstance(text, Annotation)]
        bars = [artist for artist in axes.collections if isinstance(artist, LineCollection)]
        taken = [bar.get_window_extent(renderer).padded(5) for bar in bars]
        for label in labels:
            # The extent of a scattered marker leaves out its size; the star's, the larger, does for both.
            x, y = axes.transData.transform(label.xy)
            taken.append(Bbox([[x, y], [x, y]]).padded(_MARKER_RADIUS[True] * _DOTS_PER_INCH / 72 * 0.8))
        for label in labels:
            taken.append(_place_label(label, taken, inside, renderer))


def _place_label(label: Annotation, taken: Sequence[Bbox], inside: Bbox, renderer: RendererBase) -> Bbox:
    tried: list[tuple[float, int]] = []
    for index in range(len(_LABEL_OFFSETS)):
        box = _move_label(label, index, renderer)
        outside = not (inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1)
        cost = sum(_overlap(box, other) for other in taken) + (box.width * box.height if outside else 0.0)
        tried.append((cost, index))
        if cost == 0:
            break
    return _move_label(label, min(tried)[1], renderer)


def _move_label(label: Annotation, index: int, renderer: RendererBase) -> Bbox:
    from matplotlib.text import Text

    x, y = _LABEL_OFFSETS[index]
    label.set_position((x, y))
    label.set_horizontalalignment("left" if x > 0 else "right" if x < 0 else "center")
    label.set_verticalalignment("center")
    label.update_positions(renderer)
    if label.arrow_patch is not None:  # a line back to the point, where the label had to go far
        label.arrow_patch.set_visible(math.hypot(x, y) > 12)
    # The annotation's own extent would take in its line.
    return Text.get_window_extent(label, renderer)


def _overlap(a: Bbox, b: Bbox) -> float:
    """Compute the area in square pixels that two boxes share."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return float(max(width, 0.0) * max(height, 0.0))


def _draw_stage(axes: Axes, title: str, records: Sequence[Mapping[str, Any]]) -> None:
    terms = [name for name in dict.fromkeys(key for r in records for key in r) if _is_term(name, records)]
    positive: list[float] = []
    for index, name in enumerate(terms):
        present = [record for record in records if name in record]
        values = [record[name] if _is_number(record[name]) else math.nan for record in present]
        positive += [value for value in values if not math.isnan(value)]
        # A dot for what has no neighbour to draw a line to.
        marker = "." if len(values) < 30 else ""
        colour = COLOURS[index % len(COLOURS)]
        axes.plot([r["step"] for r in present], values, color=colour, lw=1.3, marker=marker, markersize=3, label=name)
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
    # Above the panel, where no curve runs; the name of the panel is the title of the legend, so that neither covers
    # the other however many terms there are.
    legend = axes.legend(handles, labels, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=5, fontsize=8)
    legend.set_title(title)
    legend.set_alignment("left")
    legend.set_frame_on(False)


def _is_term(name: str, records: Sequence[Mapping[str, Any]]) -> bool:
    values = [record[name] for record in records if name in record]
    return name not in NOT_LOSSES and any(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _draw_dev(axes: Axes, records: Sequence[Mapping[str, Any]]) -> Axes | None:
    """Draw dev WER and blank rate on an axis of their own, to the right; None where there are neither."""
    curves = {
        label: [(r["step"], 100 * r[key]) for r in records if _is_number(r.get(key))]
        for key, label in (("dev_wer", "dev WER"), ("blank_rate", "blank rate"))
    }
    if not any(curves.values()):
        return None
    twin = axes.twinx()
    for (label, points), colour, marker in zip(curves.items(), ("black", "0.55"), ("o", "s"), strict=True):
        if points:
            steps, values = zip(*points, strict=True)
            twin.plot(steps, values, color=colour, ls="--", marker=marker, markersize=3.5, lw=1, label=f"{label} (%)")
    twin.set_ylabel("%")
    # A run that begins with a WER of many hundred percent would press all that matters onto the floor.
    twin.set_ylim(0, min(max(value for points in curves.values() for _, value in points) * 1.08 + 1, 130))
    twin.spines["top"].set_visible(False)
    return twin
