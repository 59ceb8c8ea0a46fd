"""Render rows as CSV, for spreadsheets."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Characters that start a formula in a spreadsheet; of full width in some of them."""


def flatten_row(row: DataclassInstance) -> dict[str, Any]:
    """Flatten a row for CSV: dictionaries and lists become JSON, None becomes an empty cell.

    Text that a spreadsheet would evaluate as a formula gets an apostrophe in front.

    Examples:
        >>> from bigfoot.report.rows import Row
        >>> flat = flatten_row(Row("=1+2", "prune", "test", macs_by_part={"conv": 5}))
        >>> flat["macs_by_part"], flat["name"]
        ('{"conv": 5}', "'=1+2")
    """
    return {name: flatten_cell(value) for name, value in dataclasses.asdict(row).items()}


def flatten_cell(value: Any) -> Any:  # noqa: ANN401 - whatever a field holds
    """Make a cell of a value; see ``flatten_row``.

    Args:
        value: of a field.

    Examples:
        >>> flatten_cell("@x"), flatten_cell([1]), flatten_cell(None), flatten_cell(2.5)
        ("'@x", '[1]', '', 2.5)
    """
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    # Spreadsheets pass over space, and a cell that starts with a tab or a line end may be split there.
    if isinstance(value, str) and (value[:1].isspace() or value.lstrip().startswith(_FORMULA)):
        return f"'{value}"
    return "" if value is None else value


def render_csv(rows: Sequence[DataclassInstance], labels: Mapping[str, Sequence[str]] | None = None) -> str:
    """Render rows as CSV, one line each, all fields, in the order of the dataclass.

    Args:
        rows: to render, in this order.
        labels: further columns in front, by name, one value per row.

    Returns:
        CSV with a header line; empty without rows.

    Examples:
        >>> from bigfoot.report.rows import Row
        >>> render_csv([Row("student", "prune", "test")], {"run": ["a"]}).splitlines()[1][:21]
        'a,student,prune,test,'
    """
    named = (labels or {}).items()
    front = [{name: flatten_cell(values[index]) for name, values in named} for index in range(len(rows))]
    lines = [{**label, **flatten_row(row)} for label, row in zip(front, rows, strict=True)]
    if not lines:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
