"""Rows of tables (TSV, CSV, JSONL) by line; whatever a row holds, those behind it are read."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bigfoot.audio.folders import READABLE, UNREADABLE
from bigfoot.data.transcripts import characters_problem, read_text_file, split_lines
from bigfoot.errors import DataError

log = logging.getLogger("bigfoot")
SUFFIXES = (".tsv", ".csv", ".jsonl")
PATH_COLUMNS = ("path", "audio_filepath")
_AUDIO = tuple(READABLE | UNREADABLE)


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Args:
        line: its first line, 1 and up.
        values: by column; of JSON any values, else strings.
        problem: why it holds no values.
    """

    line: int
    values: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


def read_rows(table: Path, is_file: Callable[[str], bool] = lambda _: False) -> tuple[set[str], list[Row]]:
    r"""Read a table; its suffix names its format.

    Args:
        table: a ``.tsv`` (a quotation mark is a quotation mark), ``.csv`` (RFC 4180; with ``;`` or tabs where its
            header has no comma) or ``.jsonl``; UTF-8, or UTF-16 with a byte order mark; a row in another encoding has
            a ``problem``.
        is_file: whether a cell is the path of a file that is there: lines within quotes that name one are rows.

    Returns:
        The names of its columns, of JSON all keys, and its rows, of which empty lines are none.

    Raises:
        DataError: no such table, another suffix or encoding of its header, or a header that names a column twice.

    Examples:
        >>> import tempfile
        >>> table = Path(tempfile.mkdtemp(), "t.csv")
        >>> _ = table.write_text('path,text\na.wav,"Yes, sir"\nb.wav\n')
        >>> [row.values or row.problem for row in read_rows(table)[1]]
        [{'path': 'a.wav', 'text': 'Yes, sir'}, 'has 1 fields where the header has 2']
    """
    suffix = table.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"data: {table} is not a table; expected a file ending in .tsv, .csv or .jsonl")
    if not table.is_file():
        raise DataError(f"data: no table {table}; tables are looked up as given and then under data.root")
    try:
        lines = split_lines(read_text_file(table, errors="surrogateescape", most_bytes=None))
    except DataError as error:
        raise DataError(f"data: {table} cannot be used: {error}") from error
    if suffix == ".jsonl":
        rows = [_read_json(number, line) for number, line in enumerate(lines, 1) if line.strip()]
        return {key for row in rows for key in row.values}, rows
    fields = _split_tabs(lines) if suffix == ".tsv" else _split_commas(lines, table, is_file)
    _, columns = next(fields, (0, []))
    columns = [column.strip() for column in columns]
    if problem := characters_problem("".join(columns)):
        raise DataError(f"data: {table} cannot be used: its header {problem}")
    if twice := sorted({column for column in columns if column and columns.count(column) > 1}):
        raise DataError(f"data: {table} names the column {twice[0]} twice in its header; give one another name")
    return set(columns), [_name_fields(line, columns, found) for line, found in fields]


def _name_fields(line: int, columns: list[str], fields: list[str]) -> Row:
    if problem := characters_problem("".join(fields)):
        return Row(line, problem=problem)
    if len(fields) != len(columns):
        return Row(line, problem=f"has {len(fields)} fields where the header has {len(columns)}")
    return Row(line, dict(zip(columns, fields, strict=True)))


def _read_json(line: int, text: str) -> Row:
    if problem := characters_problem(text):
        return Row(line, problem=problem)
    try:
        pairs = json.loads(text, object_pairs_hook=list, parse_constant=str)
        if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
            return Row(line, problem="is no JSON object")
    except (ValueError, RecursionError) as error:
        return Row(line, problem=f"is no JSON ({type(error).__name__})")
    values = dict(pairs)
    if len(values) < len(pairs):
        return Row(line, problem="names a key twice")
    # Escapes may stand for what is no text, too.
    problem = characters_problem("".join(value for value in values.values() if isinstance(value, str)))
    return Row(line, problem=problem) if problem else Row(line, values)


def _split_tabs(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, line.split("\t")


def _split_commas(
    lines: list[str], table: Path, is_file: Callable[[str], bool]
) -> Iterator[tuple[int, list[str]]]:
    """RFC 4180; a quotation mark that would swallow the rows behind it is one of its text."""
    columns, doubtful, comma = list[str](), list[int](), _find_separator(lines)
    number = 0
    while number < len(lines):
        if not lines[number].strip():
            number += 1
            continue
        fields, used = _split_record(lines, number, comma)
        within = lines[number + 1 : number + used]
        if within and _swallows_rows(fields, within, columns, is_file, comma):
            fields, used = [], 0
        elif within and all(line.count(comma) >= len(columns) - 1 for line in within) and len(columns) > 1:
            doubtful.append(number + 1)
        if used == 0:
            fields, used = [_strip_quotes(cell) for cell in lines[number].split(comma)], 1
        columns = columns or fields
        yield number + 1, fields
        number += used
    if doubtful:
        log.warning(
            "%s: %d rows have line breaks within quotation marks, the first in line %d, and what follows could be "
            "rows of their own; where it is, close the quotation mark", table, len(doubtful), doubtful[0],
        )  # fmt: skip


def _find_separator(lines: list[str]) -> str:
    """Return what is between the columns of a header: spreadsheets write ``;`` where a comma is in numbers."""
    header = re.sub('"[^"]*"', "", next((line for line in lines if line.strip()), ""))
    return next((separator for separator in ",;\t" if separator in header), ",")


def _split_record(lines: list[str], first: int, comma: str) -> tuple[list[str], int]:
    """Fields of the record that starts in a line, and how many lines it has; 0 where quotation marks do not pair."""
    line, used, place = lines[first], 1, 0
    if '"' not in line:
        return line.split(comma), 1
    fields: list[str] = []
    while True:
        if line[place : place + 1] != '"':
            text, found, _ = line[place:].partition(comma)
            fields.append(text)
            place += len(text) + len(found)
            if not found:
                return fields, used
            continue
        text, place = "", place + 1
        while (end := _find_closing_quote(line, place)) < 0:
            if first + used >= len(lines):
                return [], 0
            text += line[place:] + "\n"
            line, place, used = lines[first + used], 0, used + 1
        fields.append((text + line[place:end]).replace('""', '"'))
        place = end + 2
        if line[end + 1 : place] == "":
            return fields, used
        if line[end + 1 : place] != comma:
            return [], 0


def _find_closing_quote(line: str, start: int) -> int:
    while (end := line.find('"', start)) >= 0 and line[end + 1 : end + 2] == '"':
        start = end + 2
    return end


def _strip_quotes(cell: str) -> str:
    """Return a cell of a line whose quotation marks do not pair, without those that stand around it."""
    inner = cell[1:-1]
    return inner if len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner else cell


def _swallows_rows(
    fields: list[str], lines: list[str], columns: list[str], is_file: Callable[[str], bool], comma: str
) -> bool:
    """Return whether lines within quotes are rows of their own.

    Those have as many fields as the header, and a path: in the header's column of paths, or in any that ends as one
    of the record does, or where the record has a file.
    """

    def is_audio(cell: str) -> bool:
        return _is_audio(cell) or is_file(cell.strip('" '))

    rows = [cells for line in lines if len(cells := line.split(comma)) >= len(columns)]
    place = next((columns.index(name) for name in PATH_COLUMNS if name in columns), None)
    if place is not None and place < len(fields) and any(
        is_audio(row[place]) or _is_in_same_folder(row[place], fields[place]) for row in rows
    ):
        return True
    places = [number for number, field in enumerate(fields) if place is None and is_audio(field)]
    return any(number < len(row) and is_audio(row[number]) for row in rows for number in places)


def _is_audio(cell: str) -> bool:
    return cell.strip('" ').lower().endswith(_AUDIO)


def _is_in_same_folder(cell: str, other: str) -> bool:
    folder, slash, _ = other.strip('" ').rpartition("/")
    return bool(slash) and cell.strip('" ').rpartition("/")[0] == folder
