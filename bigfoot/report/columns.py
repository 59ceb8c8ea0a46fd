"""Columns of a table of models; rates are fractions in the rows and percent here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bigfoot.report.numbers import MISSING, format_number, format_percent, format_scaled, format_times
from bigfoot.report.rows import Row


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Args:
        head: title, with the unit.
        render: text of a row's cell.
        value: its number, None if it is missing; a column without this function is text.
    """

    head: str
    render: Callable[[Row], str]
    value: Callable[[Row], float | None] | None = None

    def has_value(self, row: Row) -> bool:
        """Return whether a row has something to show here."""
        return self.render(row) != MISSING


def format_wer(row: Row) -> str:
    """Format the WER in percent with its interval, or why there is none."""
    if row.wer is None:
        return f"{MISSING} ({row.wer_missing_reason})" if row.wer_missing_reason else MISSING
    counted = "" if row.unit == "word" else " PER"
    if row.wer_low is None or row.wer_high is None:
        return format_percent(row.wer) + counted
    return f"{format_percent(row.wer)} [{format_percent(row.wer_low)}, {format_percent(row.wer_high)}]{counted}"


def _speedup(row: Row) -> str:
    if row.speedup is None or row.speedup_low is None or row.speedup_high is None:
        return format_times(row.speedup)
    return f"{format_times(row.speedup)} [{format_number(row.speedup_low)}, {format_number(row.speedup_high)}]"


def _rtfx(row: Row) -> float | None:
    return 1 / row.real_time_factor if row.real_time_factor else None


def _batch_invariant(row: Row) -> str:
    if row.batch_invariant is None:
        return MISSING
    verdict = "yes" if row.batch_invariant else "no"
    difference = row.batch_invariance_max_difference
    return verdict if difference is None else f"{verdict} ({difference:.1e})"


def _score(row: Row) -> str:
    if row.score is None:
        return MISSING
    if row.score_low is None or row.score_high is None:
        return f"{row.score:.3f}"
    return f"{row.score:.3f} [{row.score_low:.3f}, {row.score_high:.3f}]"


def choose_columns(rows: Sequence[Row], columns: Sequence[Column] | None = None) -> list[Column]:
    """Choose the columns of a table: those of error rates give way to the metric where all models have a task.

    A table of tasks has no columns of what was measured of none of its models.

    Args:
        rows: of the table.
        columns: to choose among; ``COLUMNS`` by default.

    Examples:
        >>> row = Row("teacher", "teacher", "test", score=0.5, metric="macro_f1", num_unique_params=10)
        >>> [column.head for column in choose_columns([row])]
        ['model', 'macro f1 [95 %]', 'params M']
    """
    found = list(COLUMNS if columns is None else columns)
    names = list(dict.fromkeys(row.metric for row in rows if row.metric))
    if not names:
        return found
    score = Column(f"{' or '.join(names).replace('_', ' ')} [95 %]", _score, lambda row: row.score)
    at = next((index for index, column in enumerate(found) if column.head in _ERROR_HEADS), len(found))
    if any(row.wer is not None for row in rows):
        return [*found[:at], score, *found[at:]]
    later = (column for column in found[at:] if column.head not in _ERROR_HEADS)
    return [*found[:at], score, *(column for column in later if any(column.has_value(row) for row in rows))]


_ERROR_HEADS = ("WER % [95 %]", "CER %")

COLUMNS: tuple[Column, ...] = (
    Column("model", lambda row: row.name),
    Column("WER % [95 %]", format_wer, lambda row: row.wer),
    Column("CER %", lambda row: format_percent(row.cer), lambda row: row.cer),
    Column("params M", lambda row: format_scaled(row.num_unique_params, 1e6), lambda row: row.num_unique_params),
    Column("size MB", lambda row: format_scaled(row.size_bytes, 1e6), lambda row: row.size_bytes),
    Column("GMACs/s", lambda row: format_scaled(row.macs_per_second, 1e9), lambda row: row.macs_per_second),
    Column("fewer params", lambda row: format_times(row.compression_ratio), lambda row: row.compression_ratio),
    Column("fewer bytes", lambda row: format_times(row.bytes_ratio), lambda row: row.bytes_ratio),
    Column("faster [spread]", _speedup, lambda row: row.speedup),
    Column(
        "faster, all threads", lambda row: format_times(row.speedup_all_threads), lambda row: row.speedup_all_threads
    ),
    Column("RTF", lambda row: format_number(row.real_time_factor), lambda row: row.real_time_factor),
    Column("RTFx", lambda row: format_number(_rtfx(row)), _rtfx),
    Column("peak memory MB", lambda row: format_scaled(row.peak_memory_bytes, 1e6), lambda row: row.peak_memory_bytes),
    Column("batch invariant", _batch_invariant, lambda row: row.batch_invariance_max_difference),
)
"""The table of a report and of a comparison, left to right."""

LEGEND = (
    "Parameters are counted once where they are shared; MB are 10^6 bytes of weights on disk; GMACs/s are 10^9 "
    "multiply-accumulates per second of audio; fewer and faster are against the teacher, faster, RTF (seconds of "
    "computing per second of audio) and RTFx (its inverse) with one thread unless stated otherwise; batch invariant: "
    "an utterance has the same output in a batch and alone (largest difference of a logit)."
)


def sort_rows(rows: Sequence[Row]) -> list[Row]:
    """Put the teacher first and keep the order of the others."""
    return sorted(rows, key=lambda row: not row.is_teacher)
