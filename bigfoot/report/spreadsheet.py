"""Rows as CSV, for spreadsheets."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the start of a formula."""


def flatten_row(row: DataclassInstance) -> dict[str, Any]:
    """Make a row fit a CSV line: dictionaries and lists become JSON, None becomes an empty cell.

    Text that a spreadsheet would run as a formula gets an apostrophe in front.

    Examples:
        >>> from bigfoot.report.rows import Row
        >>> flat = flatten_row(Row("=1+2", "prune", "test", macs_by_part={"conv": 5}))
        >>> flat["macs_by_part"], flat["name"]
        ('{"conv": 5}', "'=1+2")
    """
    return {name: _flatten(value) for name, value in dataclasses.asdict(row).items()}


def _flatten(value: Any) -> Any:  # noqa: ANN401 - whatever a field holds
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value


def render_csv(rows: Sequence[DataclassInstance], labels: Mapping[str, Sequence[str]] | None = None) -> str:
    """Write rows as CSV, one line each, all fields, in the order of the dataclass.

    Args:
        rows: what to write, in this order.
        labels: further columns to put in front, by name, one value a row.

    Returns:
        CSV with a header line; nothing where there are no rows.

    Examples:
        >>> from bigfoot.report.rows import Row
        >>> render_csv([Row("student", "prune", "test")], {"run": ["a"]}).splitlines()[1][:21]
        'a,student,prune,test,'
    """
    front = [{name: _flatten(values[index]) for name, values in (labels or {}).items()} for index in range(len(rows))]
    lines = [{**label, **flatten_row(row)} for label, row in zip(front, rows, strict=True)]
    if not lines:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
