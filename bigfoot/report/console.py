"""Render the short table that a run prints at its end."""

from __future__ import annotations

from typing import Literal

from rich import box
from rich.table import Table
from rich.text import Text

from bigfoot.report.columns import COLUMNS, Column, choose_columns, sort_rows
from bigfoot.report.rows import Report

_CONSOLE_HEADS = ("model", "WER % [95 %]", "params M", "fewer params", "fewer bytes", "faster [spread]")
_NARROWEST = {"model": 14, "split": 5, "WER % [95 %]": 18}
"""Columns that may wrap, and the width that they keep."""


def render_console(report: Report) -> Table:
    """Render the short table that a run prints at its end; it fits in 100 columns.

    Args:
        report: to render.

    Returns:
        A table for ``rich.console.Console.print``.

    Examples:
        >>> from bigfoot.report.rows import Report, Row
        >>> render_console(Report("demo", [Row("teacher", "teacher", "test", wer=0.04)])).row_count
        1
    """
    several = len({row.split for row in report.rows}) > 1
    title = report.title if several or not report.rows else f"{report.title}, {report.rows[0].split}"
    # Text, not str: rich would parse a bracket in a name as markup.
    table = Table(title=Text(title), box=box.SIMPLE_HEAD)
    shown = choose_columns(report.rows, [column for column in COLUMNS if column.head in _CONSOLE_HEADS])
    if several:
        shown = [column for column in shown if column.head != "params M"]
        shown.insert(1, Column("split", lambda row: row.split))
    for column in shown:
        justify: Literal["left", "right"] = "left" if column.head in ("model", "split") else "right"
        narrowest = _NARROWEST.get(column.head)
        wraps = narrowest is not None
        table.add_column(
            Text(column.head), justify=justify, overflow="fold", no_wrap=not wraps, min_width=narrowest
        )
    for row in sort_rows(report.rows):
        table.add_row(*(Text(column.render(row)) for column in shown))
    return table
