"""Recordings with their texts: a file and its text, a folder of pairs, or the rows of a table."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigfoot.audio.files import read_header
from bigfoot.audio.recording import Recording
from bigfoot.config.problems import Problem
from bigfoot.data.pairs import pair_by_name
from bigfoot.data.rows import PATH_COLUMNS, SUFFIXES, Row, read_rows
from bigfoot.data.stretches import Stretch, read_stretch
from bigfoot.data.transcripts import read_text_file
from bigfoot.errors import AudioError, ConfigError, DataError
from bigfoot.paths import printable
from bigfoot.runtime.arguments import Argument
from bigfoot.types import Hertz

_TEXT_COLUMNS = ("text", "transcript", "sentence")


@dataclass(frozen=True)
class Item:
    """A recording and its text.

    Args:
        argument: the recording, its name, and where its result goes; None where there is none.
        name: for messages.
        text: to align.
        stretch: part of the file; None for all of it.
        problem: why it cannot be aligned, or None.
    """

    argument: Argument | None
    name: str
    text: str = ""
    stretch: Stretch | None = None
    problem: str | None = None

    def open(self, sample_rate: Hertz) -> Recording | AudioError:
        """Inspect the recording without reading its audio.

        Args:
            sample_rate: the model's, in Hz.

        Returns:
            The recording, or why there is none.
        """
        if self.problem is not None or self.argument is None:
            return AudioError(self.name, self.problem or "no recording")
        try:
            header = read_header(self.argument.path)
            offset, duration = (0.0, None) if self.stretch is None else self.stretch.place(header)
        except AudioError as error:
            return error
        except DataError as error:
            return AudioError(self.name, str(error))
        seconds = header.seconds if duration is None else duration
        path = str(self.argument.path)
        return Recording(path, round(seconds * sample_rate), sample_rate, None, offset, duration)


def find_items(audio: str, text: str | None) -> list[Item]:
    """Find what arguments of a command name.

    Args:
        audio: a file; a folder, whose files have texts of their names (``a/b.wav`` and ``a/b.txt``); or a table with
            the columns ``path`` and ``text``.
        text: of a file, the words or a file of text; of a folder, that of its texts, where it is another.

    Returns:
        All that is there; what misses its partner has a ``problem``.

    Raises:
        ConfigError: a file without a text, or a table with one.
        DataError: no such folder or table, or nothing in it.

    Examples:
        >>> [(item.name, item.text) for item in find_items("a.wav", "ONE TWO")]
        [('a.wav', 'ONE TWO')]
    """
    path = Path(audio)
    if os.path.isdir(path):
        return list(_pairs(path, Path(text) if text is not None else path))
    if path.suffix.lower() in SUFFIXES:
        if text is not None:
            raise ConfigError([Problem("TEXT", "not_read", f"the texts of {audio} stand in it; leave TEXT out")])
        return list(_rows(path))
    if text is None:
        raise ConfigError([Problem("TEXT", "missing", f"{audio} is a recording; give its text, or a file of text")])
    argument = Argument(path, printable(audio), Path(path.name))
    try:
        return [Item(argument, argument.name, _read_text(text))]
    except DataError as error:
        return [Item(argument, argument.name, problem=str(error))]


def _read_text(text: str) -> str:
    """Words, or those of the file that is named so."""
    is_path = not any(character.isspace() for character in text) and (Path(text).suffix == ".txt" or "/" in text)
    if is_path or os.path.isfile(text):
        return read_text_file(Path(text))
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"its text {printable(text)} is not UTF-8; convert it with iconv") from error
    return text


def _pairs(folder: Path, texts: Path) -> Iterator[Item]:
    found = pair_by_name(folder, texts)
    for pair in found.pairs:
        problem, text = pair.problem, ""
        if problem is None and pair.transcript is None:
            problem = f"no text of its name ({Path(pair.name).with_suffix('.txt')}) in {printable(texts)}"
        try:
            text = (pair.read_text() or "") if problem is None else ""
        except DataError as error:
            problem = str(error)
        argument = Argument(pair.audio, pair.name, Path(pair.name))
        yield Item(argument if problem is None else None, pair.name, text, None, problem)
    for name in found.lone_transcripts:
        yield Item(None, name, problem=f"a text without a recording of its name in {printable(folder)}")


def _rows(table: Path) -> Iterator[Item]:
    columns, rows = read_rows(table, lambda cell: os.path.isfile(table.parent / cell))
    if rows and columns and not (columns & set(PATH_COLUMNS) and columns & set(_TEXT_COLUMNS)):
        raise DataError(f"{table}: needs the columns path and text; found: {', '.join(sorted(columns))}")
    if not rows:
        raise DataError(f"{table}: holds no rows")
    for row in rows:
        yield _row(table, row)


def _row(table: Path, row: Row) -> Item:
    values, name = row.values, f"{table.name}:{row.line}"
    path, text = (_first(values, columns) for columns in (PATH_COLUMNS, _TEXT_COLUMNS))
    if row.problem or not path or text is None:
        return Item(None, name, problem=row.problem or "not a row with path and text")
    try:
        stretch = read_stretch(values)
    except DataError as error:
        return Item(None, name, problem=str(error))
    file = table.parent / (path if os.path.lexists(table.parent / path) else path.strip())
    called = str(values.get("id") or "").replace("/", "_")
    place = Path(f"{called}.wav") if called else Path(*[part for part in Path(path).parts if part not in ("/", "..")])
    if not called and stretch is not None and stretch.start is not None:
        place = place.with_name(f"{place.stem}-{round(1000 * stretch.start):07d}{place.suffix}")
    return Item(Argument(file, printable(called or path), place), name, text, stretch)


def _first(values: Mapping[str, Any], columns: tuple[str, ...]) -> str | None:
    return next((values[column] for column in columns if isinstance(values.get(column), str)), None)
