"""Rows that name a stretch of a file: what columns of times mean, and where in the file it lies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bigfoot.audio.files import AudioHeader
from bigfoot.errors import DataError
from bigfoot.types import Seconds

_START_COLUMNS = ("offset", "start", "start_time", "begin")
_END_COLUMNS = ("end", "end_time")
_DURATION_COLUMN = "duration"
COLUMNS = (*_START_COLUMNS, *_END_COLUMNS, _DURATION_COLUMN)

_ROUNDING: Seconds = 0.1
"""Times of tables are rounded; by so much a stretch may reach beyond its file."""


@dataclass(frozen=True)
class Stretch:
    """A part of a file, as a row names it.

    Args:
        start: its start; None where the row gives a length alone.
        duration: how long it is; None to the end of the file.
        rounding: by how much the given length may be off.
    """

    start: Seconds | None = None
    duration: Seconds | None = None
    rounding: Seconds = _ROUNDING

    def place(self, header: AudioHeader) -> tuple[Seconds, Seconds]:
        """Find the stretch in its file.

        Args:
            header: of the file.

        Returns:
            Start and duration in seconds; 0 and the file's own length where that is meant: a length alone that is the
            file's, in seconds, milliseconds or samples.

        Raises:
            DataError: it reaches beyond the file.

        Examples:
            >>> Stretch(1.5, 0.5).place(AudioHeader(16000, 1, 32000)), Stretch(None, 2.04).place(
            ...     AudioHeader(16000, 1, 32000))
            ((1.5, 0.5), (0.0, 2.0))
        """
        seconds = header.seconds
        start = self.start or 0.0
        end = seconds if self.duration is None else start + self.duration
        if (start == 0 and abs(end - seconds) <= _ROUNDING) or self._is_whole_length(header):
            return 0.0, seconds
        if end > seconds + _ROUNDING or start >= seconds:
            raise DataError(f"the row names {start:g} to {end:g} s of a file of {seconds:g} s")
        return start, min(end, seconds) - start

    def _is_whole_length(self, header: AudioHeader) -> bool:
        if self.start is not None or self.duration is None:
            return False
        others = (self.duration / 1000, self.duration / header.sample_rate)
        close = any(abs(length - header.seconds) <= _ROUNDING for length in others)
        return close or abs(self.duration - header.seconds) < self.rounding


def read_stretch(row: Mapping[str, Any]) -> Stretch | None:
    """Parse the columns ``offset`` or ``start``, ``duration`` and ``end`` of a row, all in seconds.

    Args:
        row: values by column.

    Returns:
        The stretch; None where the row names none.

    Raises:
        DataError: a time that is no number, below zero, or not that of the other columns.

    Examples:
        >>> read_stretch({"offset": "1.5", "duration": "0.5"}), read_stretch({"path": "a.wav"})
        (Stretch(start=1.5, duration=0.5, rounding=0.1), None)
    """
    start = _read_first(row, _START_COLUMNS)
    end = _read_first(row, _END_COLUMNS)
    duration = _read_first(row, (_DURATION_COLUMN,))
    if end is not None:
        length = end - (start or 0.0)
        if duration is not None and abs(duration - length) > _ROUNDING:
            raise DataError(f"the row's duration is {duration:g}, from its start to its end it is {length:g}")
        start, duration = start or 0.0, length
    if start is None and duration is None:
        return None
    if duration is not None and duration <= 0:
        raise DataError(f"the row names a stretch of {duration:g} s")
    return Stretch(start, duration, _rounding(row.get(_DURATION_COLUMN)))


def _read_first(row: Mapping[str, Any], columns: tuple[str, ...]) -> Seconds | None:
    for column in columns:
        value = row.get(column)
        if value is None or isinstance(value, bool) or (isinstance(value, str) and not value.strip()):
            continue
        try:
            seconds = float(value)
        except (TypeError, ValueError, OverflowError):
            seconds = math.nan
        if not 0 <= seconds < math.inf:
            raise DataError(f"the row's {column} is {value!r}; expected seconds, 0 or more")
        return seconds
    return None


def _rounding(duration: object) -> Seconds:
    """Whole seconds, as ``3``, may be cut off or rounded up."""
    return 1.0 if isinstance(duration, int) or str(duration).strip().isdecimal() else _ROUNDING
