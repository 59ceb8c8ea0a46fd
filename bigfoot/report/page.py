"""Pages of HTML that need no other file and no network: one skeleton, one table that sorts, one way to put in figures.

The templates lie in ``bigfoot/assets/pages``; whatever is put into them is escaped, but for the figures drawn here.
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
# Figures of this width have, on a phone, about the letters of the text around them.
FIGURE_WIDTH = 4.8


@dataclass(frozen=True)
class Head:
    """The head of a column.

    Args:
        text: its title.
        numeric: whether its cells are numbers.
    """

    text: str
    numeric: bool


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Args:
        text: what it shows.
        value: what it is sorted by; None where it is missing, which sorts last.
    """

    text: str
    value: float | str | None


@dataclass(frozen=True)
class SortableTable:
    """A table that a reader can sort.

    Args:
        caption: what it holds.
        heads: of its columns.
        rows: its cells, a list a row.
    """

    caption: str
    heads: list[Head]
    rows: list[list[Cell]]


def tabulate_rows(
    caption: str, columns: Sequence[Column], rows: Sequence[Row], labels: Mapping[str, Sequence[str]] | None = None
) -> SortableTable:
    """Put rows into a table that sorts by the values behind what it shows.

    Args:
        caption: what the table holds.
        columns: what to show of a row.
        rows: in the order in which they are first seen.
        labels: further columns to put in front, by name, one text a row.

    Returns:
        The table.

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
    """Draw a figure for a page.

    Args:
        figure: what to draw.
        title: what it shows; different for each figure of a page.

    Returns:
        An ``<svg>`` element, already safe.
    """
    return Markup(render_svg(figure, title))


def draw_tradeoffs(rows: Sequence[Row], groups: Sequence[str] | None = None) -> list[Markup]:
    """Draw WER against size and against speed, for each split that has something to draw.

    Args:
        rows: what to draw.
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
        content: what the template asks for; shown as text, never read as HTML, unless it is ``Markup``.

    Returns:
        The page. It allows its browser no request and no script but its own.

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
    # A name that a template asks for and nobody gave is a fault of ours, not an empty place on the page.
    return Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
