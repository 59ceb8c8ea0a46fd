"""Further tables of a report: MACs by part, time by step, skipped data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bigfoot.report.columns import sort_rows
from bigfoot.report.numbers import format_scaled, format_seconds
from bigfoot.report.rows import Row

PARTS = ("conv", "positional_conv", "transformer", "head")
MACS_UNIT = "10^9 multiply-accumulates per second of audio."


@dataclass(frozen=True)
class TextTable:
    """Table of text cells.

    Args:
        heads: titles of the columns.
        cells: one list per row.
    """

    heads: list[str]
    cells: list[list[str]]


def name_parts(rows: Sequence[Row]) -> list[str]:
    """List the parts that have MACs in any row, parts of every model first."""
    others = {part for row in rows for part in row.macs_by_part} - set(PARTS)
    return [*PARTS, *sorted(others)]


def pick_models(rows: Sequence[Row]) -> list[Row]:
    """Select one row per model with MACs, the teacher first: MACs do not depend on the split."""
    models: dict[str, Row] = {}
    for row in sort_rows(rows):
        if row.macs_by_part:
            models.setdefault(row.name, row)
    return list(models.values())


def tabulate_macs(rows: Sequence[Row]) -> TextTable:
    """Tabulate the MACs of every model by part, in billions per second of audio."""
    parts = name_parts(rows)
    cells = [
        [row.name, *(format_scaled(macs, 1e9) for macs in (*map(row.macs_by_part.get, parts), row.macs_per_second))]
        for row in pick_models(rows)
    ]
    return TextTable(["model", *(part.replace("_", " ") for part in parts), "all"], cells)


def tabulate_seconds(seconds_per_step: Mapping[str, float]) -> TextTable:
    """Tabulate the time of every step, and the total."""
    durations = {**seconds_per_step, "all": sum(seconds_per_step.values())} if seconds_per_step else {}
    return TextTable(["step", "time"], [[step, format_seconds(seconds)] for step, seconds in durations.items()])


def count_skipped(skipped: Sequence[Mapping[str, Any]]) -> TextTable:
    """Count the skipped data by split and kind of reason, the most frequent first."""
    # Reasons may contain numbers of their file; the text before the first bracket or colon is the kind.
    kinds = Counter((str(item.get("split", "")), _kind_of(str(item.get("reason", "")))) for item in skipped)
    cells = [[split, kind, str(count)] for (split, kind), count in kinds.most_common()]
    return TextTable(["split", "reason", "count"], cells)


def _kind_of(reason: str) -> str:
    return reason.split("(")[0].split(":")[0].strip() or "no reason given"
