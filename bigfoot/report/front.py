"""The page of a search of subnets: what was picked, and the front that it lies on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bigfoot.report.files import encode_json, encode_text, write_set
from bigfoot.report.numbers import MISSING, format_number, format_percent
from bigfoot.report.plots import COLOURS, render_png
from bigfoot.report.render import render_table
from bigfoot.storage.ownership import OWN_OR_EDITED, MayReplace

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

_AXES = {
    "size_bytes": ("size on disk (MB)", 1e6), "real_time_factor": ("real-time factor, one thread", 1.0),
    "macs_per_second": ("10^9 multiply-accumulates per second of audio", 1e9),
}  # fmt: skip


@dataclass(frozen=True)
class FrontPoint:
    """A subnet on the page.

    Args:
        shape: in words.
        wer: on dev, in the search.
        size_bytes: of its weights.
        real_time_factor: from the table; None without one.
        macs_per_second: of audio; None where it was not counted.
        folder: where it was written; empty where it was not.
        trained_wer: of what was written, where it was trained since.
        on_front: whether no other beats it in cost and error.
    """

    shape: str
    wer: float
    size_bytes: int
    real_time_factor: float | None = None
    macs_per_second: int | None = None
    folder: str = ""
    trained_wer: float | None = None
    on_front: bool = False


def render_front(points: Sequence[FrontPoint], heading: str) -> str:
    """Write the page as Markdown: the students, then all that was measured.

    Args:
        points: all of them, those that were written first.
        heading: sentences on how they were measured.
    """
    written = [point for point in points if point.folder]
    trained = any(point.trained_wer is not None for point in written)
    heads = ["student", "WER on dev %", *(["trained further %"] if trained else []), "MB", "RTF", "shape"]
    cells = [
        [point.folder, format_percent(point.wer), *([format_percent(point.trained_wer)] if trained else []),
         format_number(point.size_bytes / 1e6), _number(point.real_time_factor), point.shape]
        for point in written
    ]  # fmt: skip
    rest = [
        [format_percent(point.wer), format_number(point.size_bytes / 1e6), _number(point.real_time_factor),
         "yes" if point.on_front else "", point.shape]
        for point in sorted(points, key=lambda each: each.size_bytes)
    ]  # fmt: skip
    lines = ["# Students picked out of a supernet", "", heading, "", "![front](front.png)", ""]
    lines += [*render_table(heads, cells), "", "## All that was measured", ""]
    return "\n".join([*lines, *render_table(["WER on dev %", "MB", "RTF", "front", "shape"], rest)]) + "\n"


def _number(value: float | None) -> str:
    return MISSING if value is None else format_number(value)


def draw_front(points: Sequence[FrontPoint], axis: str) -> Figure:
    """Draw errors over a cost: all subnets, the front, and those that were written.

    Args:
        points: measured.
        axis: a field of ``FrontPoint``.

    Examples:
        >>> draw_front([FrontPoint("2 layers", 0.1, 2_000_000)], "size_bytes").axes[0].get_xlabel()
        'size on disk (MB)'
    """
    from matplotlib.figure import Figure

    label, unit = _AXES[axis]
    figure = Figure(figsize=(7.0, 4.4), layout="constrained")
    axes = figure.subplots()

    def place(chosen: Sequence[FrontPoint]) -> tuple[list[float], list[float]]:
        return [float(getattr(each, axis) or 0) / unit for each in chosen], [100 * each.wer for each in chosen]

    front = sorted((point for point in points if point.on_front), key=lambda each: getattr(each, axis) or 0)
    axes.scatter(*place(points), s=14, color="#888888", label="measured")
    axes.step(*place(front), where="post", color=COLOURS[0], label="front")
    axes.scatter(*place([point for point in points if point.folder]), s=44, color=COLOURS[1], label="written")
    axes.set_xlabel(label)
    axes.set_ylabel("WER on dev (%)")
    axes.legend()
    return figure


def save_front(
    points: Sequence[FrontPoint], heading: str, axis: str, folder: Path, may: MayReplace = OWN_OR_EDITED
) -> None:
    """Write ``front.{md,json,png}``.

    Args:
        points: see ``render_front``.
        heading: see there.
        axis: see ``draw_front``.
        folder: of the students.
        may: what may be replaced.
    """
    content: dict[str, Any] = {"heading": heading, "points": [vars(point) for point in points]}
    contents = {
        "front.md": encode_text(render_front(points, heading)), "front.png": render_png(draw_front(points, axis)),
        "front.json": encode_json(content),
    }  # fmt: skip
    write_set(folder, contents, sign="front.json", key="points", may=may)
