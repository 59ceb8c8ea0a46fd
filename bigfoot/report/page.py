"""Self-contained HTML pages: a skeleton, a sortable table and embedded figures.

The templates are in ``bigfoot/assets/pages``; their content is escaped, except for the figures drawn here.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bigfoot.report.columns import Column
from bigfoot.report.plots import draw_wer_vs_size, draw_wer_vs_speed
from bigfoot.report.rows import Row
from bigfoot.report.svg import render_svg

if TYPE_CHECKING:  # matplotlib is slow to import
    from matplotlib.figure import Figure


_FOLDER = Path(__file__).parent.parent / "assets" / "pages"
# At this width a figure's font on a phone is about as large as the text around it.
FIGURE_WIDTH = 4.8


@dataclass(frozen=True)
class Head:
    """Head of a column.

    Args:
        text: title.
        numeric: whether its cells are numbers.
    """

    text: str
    numeric: bool


@dataclass(frozen=True)
class Cell:
    """Cell of a table.

    Args:
        text: displayed text.
        value: sort key; None if missing, which sorts last.
    """

    text: str
    value: float | str | None


@dataclass(frozen=True)
class SortableTable:
    """Sortable table.

    Args:
        caption: of the table.
        heads: of its columns.
        rows: its cells, one list per row.
    """

    caption: str
    heads: list[Head]
    rows: list[list[Cell]]


def tabulate_rows(
    caption: str, columns: Sequence[Column], rows: Sequence[Row], labels: Mapping[str, Sequence[str]] | None = None
) -> SortableTable:
    """Build a table that sorts by the values of its cells.

    Args:
        caption: of the table.
        columns: to show.
        rows: in their initial order.
        labels: further columns in front, by name, one text per row.

    Examples:
        >>> from bigfoot.report.columns import COLUMNS
        >>> from bigfoot.report.rows import Row
        >>> table = tabulate_rows("models", COLUMNS, [Row("teacher", "teacher", "test", wer=0.04)])
        >>> table.rows[0][1], table.rows[0][2]
        (Cell(text='4.00', value=0.04), Cell(text='n/a', value=None))
    """
    labels = labels or {}
    heads = [Head(name, numeric=False) for name in labels]
    heads += [Head(column.head, numeric=column.value is not None) for column in columns]
    cells = [
        [*(Cell(texts[index], texts[index]) for texts in labels.values()), *(_fill(column, row) for column in columns)]
        for index, row in enumerate(rows)
    ]
    return SortableTable(caption, heads, cells)


def _fill(column: Column, row: Row) -> Cell:
    text = column.render(row)
    if column.value is None:
        return Cell(text, text)
    value = column.value(row)
    return Cell(text, value if value is not None and math.isfinite(value) else None)


def embed_figure(figure: Figure, title: str) -> Markup:
    """Render a figure for a page.

    Args:
        figure: to render.
        title: description; unique on a page.

    Returns:
        An ``<svg>`` element, marked as safe.
    """
    return Markup(render_svg(figure, title))


def draw_tradeoffs(rows: Sequence[Row], groups: Sequence[str] | None = None) -> list[Markup]:
    """Draw WER against size and against speed, for each split with data.

    Args:
        rows: to draw.
        groups: see ``draw_wer_vs_size``.

    Returns:
        Figures for a page.
    """
    figures = []
    for split in dict.fromkeys(row.split for row in rows):
        here = [index for index, row in enumerate(rows) if row.split == split and row.wer is not None]
        chosen = [rows[index] for index in here]
        colours = None if groups is None else [groups[index] for index in here]
        for draw, what, has in (
            (draw_wer_vs_size, "size", [row.size_bytes or row.num_unique_params for row in chosen]),
            (draw_wer_vs_speed, "speed", [row.speedup for row in chosen]),
        ):
            if any(has):
                figure = draw(chosen, colours, panel_width=FIGURE_WIDTH - 1.4)
                figures.append(embed_figure(figure, f"WER against {what}, {split}"))
    return figures


def render_page(template: str, title: str, **content: object) -> str:
    """Fill a template.

    Args:
        template: a file of ``bigfoot/assets/pages``.
        title: of the page.
        content: the template's variables; escaped, unless they are ``Markup``.

    Returns:
        The page. Its policy allows no requests and no scripts but its own.

    Examples:
        >>> table = SortableTable("models", [Head("model", False)], [[Cell("<b>", "<b>")]])
        >>> "&lt;b&gt;" in render_page("compare.html", "demo", warnings=[], table=table, figures=[])
        True
    """
    script, style = (_read(name) for name in ("page.js", "page.css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _environment().get_template(template).render(
        title=title, script=Markup(script), script_hash=f"sha256-{digest}", style=Markup(style), **content
    )  # fmt: skip


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    # An undefined variable of a template is an error, not empty text.
    return Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
