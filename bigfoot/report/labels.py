"""Names beside the points of a figure, where they cover nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # matplotlib is slow to import
    from matplotlib.backend_bases import RendererBase
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

DOTS_PER_INCH = 130
"""Of the pictures, and of the drawing by which labels are placed."""

# Where the middle of a label's near edge may stand, (horizontal, vertical) in points from its point: beside it, then
# beside it and higher or lower, then above and below.
_LABEL_OFFSETS = (
    *((side * (9 + abs(y) / 3), y) for y in (0, 5, -5, 10, -10, 16, -16, 24, -24, 34, -34, 46) for side in (1, -1)),
    *((0, y) for y in (14, -14, 30, -30)),
    *((side * 30, y) for y in (60, -46, 76, -60) for side in (1, -1)),
)


def place_labels(figure: Figure, marker_radius: float) -> None:
    """Move each label to the first place around its point where it covers no marker, no bar and no other label.

    Args:
        figure: whose annotations are names of points, each at an offset in points.
        marker_radius: of the largest marker, in points.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> figure = Figure()
        >>> label = figure.subplots().annotate("a", (0, 0), textcoords="offset points", xytext=(0, 0))
        >>> place_labels(figure, 4.0)
        >>> label.get_verticalalignment()
        'center'
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(DOTS_PER_INCH)
    canvas.draw()  # type: ignore[no-untyped-call]  # fixes the layout, without which nothing has a place in pixels
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    for axes in figure.axes:
        inside = axes.get_window_extent(renderer)
        labels = [text for text in axes.texts if isinstance(text, Annotation)]
        # A collection in coordinates of data has no extent of its own: its segments have the place.
        bars = [artist for artist in axes.collections if isinstance(artist, LineCollection)]
        segments = [axes.transData.transform(segment) for bar in bars for segment in bar.get_segments()]
        taken = [Bbox([segment.min(axis=0), segment.max(axis=0)]).padded(5) for segment in segments]
        for label in labels:
            # The extent of a scattered marker leaves out its size; that of the largest does for all.
            x, y = axes.transData.transform(label.xy)
            taken.append(Bbox([[x, y], [x, y]]).padded(marker_radius * DOTS_PER_INCH / 72 * 0.8))
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
