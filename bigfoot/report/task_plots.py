"""Figures of a task: reliability, embeddings in two dimensions, attention over the waveform."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bigfoot.report.plots import COLOURS
from bigfoot.report.svg import printable

if TYPE_CHECKING:  # matplotlib is slow to import
    from matplotlib.figure import Figure

_MOST_LABELS = 8
"""Labels with a colour of their own; all others share a grey."""


def draw_task(task: Mapping[str, Any], width: float) -> Iterator[tuple[str, Figure]]:
    """Draw the figures of a task.

    Args:
        task: an entry of ``Report.tasks``.
        width: in inches.

    Yields:
        Titles and figures, those that there are.
    """
    shown, name = task.get("shown") or {}, f"{task.get('name')}, {task.get('split')}"
    if shown.get("reliability"):
        yield f"Reliability, {name}", draw_reliability(shown["reliability"], width)
    if shown.get("projection"):
        yield f"Embeddings, {name}", draw_projection(shown["projection"], width)
    for item in shown.get("attention") or []:
        yield f"Attention of the pooling, {item['id']}, {name}", draw_attention(item, width)


def draw_reliability(bins: Sequence[Mapping[str, float]], width: float) -> Figure:
    """Draw accuracy against confidence; on the diagonal a model is calibrated.

    Args:
        bins: ``confidence``, ``accuracy`` and ``count``.
        width: in inches.

    Examples:
        >>> figure = draw_reliability([{"confidence": 0.9, "accuracy": 0.8, "count": 10}], 4.0)
        >>> figure.axes[0].get_xlabel()
        'confidence'
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, width * 0.8), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", lw=1, ls="--")
    total = max(1, sum(each["count"] for each in bins))
    xs, ys = ([each[key] for each in bins] for key in ("confidence", "accuracy"))
    axes.plot(xs, ys, color=COLOURS[0], lw=1)
    axes.scatter(xs, ys, s=[20 + 200 * each["count"] / total for each in bins], color=COLOURS[0], alpha=0.7)
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.03), ylim=(0, 1.03))
    _tidy(axes)
    return figure


def draw_projection(points: Sequence[Mapping[str, Any]], width: float) -> Figure:
    """Draw pooled vectors along their first two principal components, coloured by label.

    Args:
        points: ``x``, ``y`` and ``label``.
        width: in inches.
    """
    from collections import Counter

    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, width * 0.9), layout="constrained")
    axes = figure.subplots()
    frequent = [label for label, _ in Counter(point["label"] for point in points).most_common(_MOST_LABELS)]
    for label in [None, *sorted(frequent)]:
        here = [p for p in points if (p["label"] not in frequent if label is None else p["label"] == label)]
        if here:
            colour = "0.7" if label is None else COLOURS[sorted(frequent).index(label) % len(COLOURS)]
            name = "others" if label is None else printable(str(label)).replace("$", r"\$").lstrip("_")
            xs, ys = ([p[axis] for p in here] for axis in ("x", "y"))
            axes.scatter(xs, ys, s=9, color=colour, label=name, alpha=0.8)
    axes.set(xlabel="first component", ylabel="second component")
    axes.legend(fontsize=7, frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)
    _tidy(axes)
    return figure


def draw_attention(item: Mapping[str, Any], width: float) -> Figure:
    """Draw the shares of the frames over the waveform.

    Args:
        item: ``seconds``, ``peaks`` and ``shares``.
        width: in inches.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, width * 0.45), layout="constrained")
    axes = figure.subplots()
    peaks, shares, seconds = item["peaks"], item["shares"], item["seconds"]
    times = [seconds * (index + 0.5) / len(peaks) for index in range(len(peaks))]
    axes.fill_between(times, [-peak for peak in peaks], peaks, color="0.75", lw=0)
    axes.set(xlabel="seconds", ylabel="waveform", xlim=(0, seconds or 1))
    twin = axes.twinx()
    times = [seconds * (index + 0.5) / len(shares) for index in range(len(shares))]
    twin.plot(times, shares, color=COLOURS[1], lw=1.3)
    twin.set(ylabel="share", ylim=(0, None))
    _tidy(axes)
    twin.spines["top"].set_visible(False)
    return figure


def _tidy(axes: Any) -> None:  # noqa: ANN401 - matplotlib's, imported late
    axes.grid(alpha=0.25)
    axes.spines["top"].set_visible(False)
