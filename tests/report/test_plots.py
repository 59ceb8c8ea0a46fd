"""Pictures: drawn from anything a run can leave, labels clear of what they name."""

from __future__ import annotations

import io
import itertools
import math
import subprocess
import sys
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from bigfoot.report.plots import draw_losses, draw_macs_by_part, draw_wer_vs_size, draw_wer_vs_speed, render_png
from bigfoot.report.rows import Row


def row(name: str, wer: float | None, size: int | None, split: str = "test", **facts: Any) -> Row:
    return Row(name, name, split, wer=wer, size_bytes=size, **facts)


def ink(png: bytes) -> float:
    """Share of the pixels that are not white."""
    image = matplotlib.image.imread(io.BytesIO(png))
    return float(np.mean(image[..., :3].min(axis=-1) < 0.9))


ODD_ROWS = {
    "none": [],
    "no wer": [row("a", None, 10)],
    "no size": [row("a", 0.1, None)],
    "nan": [row("a", math.nan, 10), row("b", 0.1, 1_000_000, wer_low=math.nan, wer_high=0.2)],
    "zero": [row("a", 0.0, 1_000_000, wer_low=0.0, wer_high=0.0)],
    "all zero": [row("a", 0.0, 0), row("b", 0.0, 0)],
    "zero and outlier": [row("a", 0.0, 1_000_000, wer_low=0.0, wer_high=0.0), row("b", 1.0, 900_000_000)],
    "interval beside the rate": [row("a", 0.3, 1_000_000, wer_low=0.1, wer_high=0.2)],
    "params only": [row("a", 0.3, None, num_unique_params=5)],
    "mathtext": [row("$\\frac{a", 0.3, 1_000_000, split="te$t")],
}


@pytest.mark.slow
@pytest.mark.parametrize("rows", ODD_ROWS.values(), ids=list(ODD_ROWS))
def test_odd_rows_are_drawn(rows: list[Row]) -> None:
    assert ink(render_png(draw_wer_vs_size(rows))) > 0.001


def is_empty(figure: Figure) -> bool:
    """One sentence that says so, and no axes."""
    return not figure.axes and len(figure.texts) == 1


def test_nothing_to_draw_says_so() -> None:
    assert is_empty(draw_wer_vs_size([]))
    assert is_empty(draw_losses({"distill": [], "finetune": [{"ctc": 1.0}]}))


@pytest.mark.slow
def test_axes_of_size() -> None:
    quantized = [row("a", 0.1, 4_000_000, num_unique_params=1), row("b", 0.1, 1_000_000, num_unique_params=1)]
    assert draw_wer_vs_size(quantized).axes[0].get_xlabel() == "size on disk (MB)"
    by_params = [row("a", 0.1, None, num_unique_params=1_000_000), row("b", 0.1, 4, num_unique_params=2_000_000)]
    figure = draw_wer_vs_size(by_params)
    assert figure.axes[0].get_xlabel() == "unique parameters (millions)"
    assert [label.xy for label in figure.axes[0].texts if isinstance(label, Annotation)] == [(1.0, 10.0), (2.0, 10.0)]


def test_left_out_rows_are_counted() -> None:
    figure = draw_wer_vs_size([row("a", 0.1, 10), row("b", None, 10)])
    assert any(text.get_text().startswith("1 ") for text in figure.texts)


@pytest.mark.slow
def test_a_panel_for_each_split() -> None:
    figure = draw_wer_vs_size([row("a", 0.1, 10), row("a", 0.2, 10, split="dev")])
    assert [axes.get_title() for axes in figure.axes] == ["test", "dev"]


@pytest.mark.slow
def test_labels_keep_clear() -> None:
    # The hard case is the usual one: many students of one size with nearly one WER, a teacher, and a broken model.
    rows = [row(f"student number {i}", 0.05 + 0.003 * i, 3_900_000, wer_low=0.04, wer_high=0.08) for i in range(5)]
    rows += [row("teacher", 0.039, 11_600_000), row("fresh from the knife", 1.0, 3_900_000)]
    figure = draw_wer_vs_size(rows)
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(130)
    canvas.draw()  # type: ignore[no-untyped-call]
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    axes = figure.axes[0]
    labels = [text for text in axes.texts if isinstance(text, Annotation)]
    boxes = [Text.get_window_extent(label, renderer) for label in labels]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    points = [axes.transData.transform(label.xy) for label in labels]
    assert not any(box.padded(3).contains(*point) for box in boxes for point in points)


def test_groups_have_a_legend() -> None:
    figure = draw_wer_vs_size([row("a", 0.1, 10), row("a", 0.2, 10)], groups=["run 1", "run 2"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["run 1", "run 2"]


def test_speed_by_hand() -> None:
    teacher = row("teacher", 0.1, None, wer_low=0.08, wer_high=0.13, speedup=1.0, speedup_low=1.0, speedup_high=1.0)
    student = row("student", 0.2, None, speedup=2.0, speedup_low=1.5, speedup_high=2.25)
    figure = draw_wer_vs_speed([teacher, student, row("unmeasured", 0.3, 10)])
    axes = figure.axes[0]
    assert [label.xy for label in axes.texts if isinstance(label, Annotation)] == [(2.0, 20.0), (1.0, 10.0)]
    collections = [artist for artist in axes.collections if isinstance(artist, LineCollection)]
    bars = [segment.tolist() for collection in collections for segment in collection.get_segments()]
    assert [[1.5, 20.0], [2.25, 20.0]] in bars
    assert [[1.0, 8.0], [1.0, 13.0]] in bars
    assert any(text.get_text().startswith("1 ") for text in figure.texts)
    assert is_empty(draw_wer_vs_speed([row("a", 0.1, 10)]))


@pytest.mark.slow
def test_labels_keep_clear_of_bars() -> None:
    rows = [
        row(f"student {i}", 0.07 + 0.002 * i, None, wer_low=0.05, wer_high=0.09, speedup=1.9 + 0.03 * i,
            speedup_low=1.8, speedup_high=2.1)
        for i in range(3)
    ]  # fmt: skip
    figure = draw_wer_vs_speed([*rows, row("teacher", 0.04, None, speedup=1.0)], panel_width=3.4)
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(130)
    canvas.draw()  # type: ignore[no-untyped-call]
    axes = figure.axes[0]
    labels = [Text.get_window_extent(text) for text in axes.texts if isinstance(text, Annotation)]
    bars = [
        Bbox(axes.transData.transform(segment)).padded(1)
        for bar in axes.collections if isinstance(bar, LineCollection) for segment in bar.get_segments()
    ]  # fmt: skip
    assert len(bars) == 6
    assert not any(label.overlaps(bar) for label in labels for bar in bars)


def test_macs_by_hand() -> None:
    teacher = row("teacher", None, None, macs_by_part={"conv": 3_000_000_000, "transformer": 5_000_000_000})
    student = row("student", None, None, macs_by_part={"conv": 1_000_000_000, "pooling": 2_000_000_000})
    figure = draw_macs_by_part([student, teacher, row("student", 0.2, None, split="dev", macs_by_part={"conv": 9})])
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["teacher", "student"]
    bars = {bar.get_label(): [(patch.get_x(), patch.get_width()) for patch in bar] for bar in axes.containers}
    assert bars == {
        "conv": [(0, 3), (0, 1)], "positional conv": [(3, 0), (1, 0)], "transformer": [(3, 5), (1, 0)],
        "head": [(8, 0), (1, 0)], "pooling": [(8, 0), (1, 2)],
    }  # fmt: skip
    assert [text.get_text() for text in axes.texts] == ["8", "3"]
    assert is_empty(draw_macs_by_part([row("a", 0.1, 10)]))


def test_losses_by_hand() -> None:
    records: list[dict[str, Any]] = [
        {"step": 20, "ctc": 1.0, "learning_rate": 1e-4, "seconds": 3.0, "dev_wer": 0.5, "blank_rate": None},
        {"step": 10, "ctc": 2.0, "hidden": math.nan, "note": "warm"},
        {"step": 30, "ctc": None, "hidden": 0.5, "dev_wer": math.nan},
    ]
    figure = draw_losses({"distill": records})
    left, right = figure.axes
    curves = {str(line.get_label()): line for line in left.lines}
    assert sorted(curves) == ["ctc", "hidden"]
    assert np.asarray(curves["ctc"].get_xdata()).tolist() == [10, 20, 30]
    np.testing.assert_array_equal(curves["ctc"].get_ydata(), [2.0, 1.0, math.nan])
    np.testing.assert_array_equal(curves["hidden"].get_ydata(), [math.nan, 0.5])
    assert [np.asarray(line.get_xydata()).tolist() for line in right.lines] == [[[20, 50.0]]]
    # Of a task the loss on dev stands beside that of training, its score on the axis to the right.
    figure = draw_losses({"train_task": [{"step": 1, "loss": 2.0}, {"step": 1, "dev_loss": 1.5, "dev_score": 0.25}]})
    left, right = figure.axes
    curves = {str(line.get_label()): np.asarray(line.get_xydata()).tolist() for line in left.lines}
    assert curves == {"loss": [[1, 2.0]], "dev_loss": [[1, 1.5]]}
    assert [np.asarray(line.get_xydata()).tolist() for line in right.lines] == [[[1, 25.0]]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "records",
    [
        [{"step": 1}],
        [{"step": 1, "ctc": 0.0}, {"step": 2, "ctc": -5.0}],
        [{"step": 1, "ctc": math.inf}],
        [{"step": 1, "dev_wer": 12.0, "blank_rate": 1.0}],
        [{"step": step, **{f"term number {i}": 10.0 ** (i - step / 50) for i in range(9)}} for step in range(1, 200)],
    ],
)
def test_odd_losses_are_drawn(records: list[dict[str, float]]) -> None:
    assert ink(render_png(draw_losses({"distill": records, "fine$tune": records}))) > 0.001


@pytest.mark.slow
def test_matplotlib_waits_until_something_is_drawn() -> None:
    code = "import sys, bigfoot.report.rows, bigfoot.report.compare; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    code = (
        "import sys; from bigfoot.report.plots import *; render_png(draw_losses({})); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
