"""Utterances listed in tables (TSV, CSV, JSONL), Common Voice's among them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bigfoot.data.manifests import UNKNOWN_SPEAKER, ListedUtterance, tell_apart
from bigfoot.data.rows import PATH_COLUMNS, Row, read_rows
from bigfoot.data.settings import ALL_LABELS
from bigfoot.data.stretches import COLUMNS, Stretch, read_stretch
from bigfoot.data.word_times import WORD_TIMES
from bigfoot.errors import DataError

_TEXT_COLUMNS = ("text", "transcript", "sentence")
_SPEAKER_COLUMNS = ("speaker", "client_id")
_ROLE_COLUMNS = {"", "id", *PATH_COLUMNS, *_TEXT_COLUMNS, *_SPEAKER_COLUMNS, *COLUMNS, WORD_TIMES}


def list_table(
    table: Path, audio: Path | None = None, untranscribed: bool = False, names: Mapping[str, str] | None = None,
    labels: Collection[str] = (),
) -> list[ListedUtterance]:  # fmt: skip
    """List a table of utterances; the suffix names its format.

    A header names the columns ``path`` (or ``audio_filepath``; relative to the table's folder) and ``text`` (or
    ``transcript``, or ``sentence``); ``id`` and ``speaker`` (or ``client_id``) are optional. ``offset`` (or ``start``),
    ``duration`` and ``end``, in seconds, mark a row as a stretch of its file; other columns are passed over. In
    JSONL these are the keys::

        id<TAB>path<TAB>seconds<TAB>speaker<TAB>transcript
        19-198-0000<TAB>audio/19/19-198-0000.ogg<TAB>1.965<TAB>19<TAB>NORTHANGER ABBEY
        {"path": "audio/19/19-198-0000.ogg", "text": "NORTHANGER ABBEY", "speaker": "19"}
        {"audio_filepath": "long.flac", "offset": 12.5, "duration": 3.25, "text": "NORTHANGER ABBEY"}

    Args:
        table: a ``.tsv``, ``.csv`` or ``.jsonl`` file; see ``read_rows``.
        audio: folder to which paths are relative; the table's own by default.
        untranscribed: transcripts are not trained on, so their column may be missing.
        names: the table's own names of columns, by what they are for.
        labels: columns, by these names or by ``names``, that travel with the utterances as labels of tasks; ``*`` for
            all that are for nothing else.

    Returns:
        The utterances in the table's order; a broken line is one with a ``problem``.

    Raises:
        DataError: no such file, an unknown suffix, or columns are missing.
    """
    audio = audio or table.parent
    read = read_rows(table, lambda cell: os.path.isfile(audio / cell))
    return list_rows(table, read, audio, untranscribed, names or {}, labels)


def list_rows(
    table: Path, read: tuple[set[str], list[Row]], audio: Path, untranscribed: bool, names: Mapping[str, str],
    labels: Collection[str],
) -> list[ListedUtterance]:  # fmt: skip
    """List rows of a table; see ``list_table``.

    Args:
        table: where they come from.
        read: names of its columns, and its rows.
        audio: folder to which paths are relative.
        untranscribed: see there.
        names: see there.
        labels: see there.

    Returns:
        The utterances in the rows' order.

    Raises:
        DataError: columns are missing.
    """
    columns, rows = _rename(table, *read, names)
    if ALL_LABELS in labels:
        labels = sorted(columns - _ROLE_COLUMNS)
    if absent := sorted(set(labels) - columns):
        found = ", ".join(sorted(columns)) or "an empty file"
        raise DataError(f"data.labels: {table} has no column {absent[0]} (there: {found}); see data.columns")
    texts = set(_TEXT_COLUMNS) if not untranscribed else {*_TEXT_COLUMNS, *columns}
    broken = table.suffix.lower() == ".jsonl" and not columns
    if not broken and not (columns & set(PATH_COLUMNS) and columns & texts):
        found = ", ".join(sorted(columns)) or "an empty file"
        raise DataError(
            f"data: {table} needs a header with the columns path and text; found: {found}. Columns of other names are "
            "given as data.columns={path: FILE, text: TRANSCRIPT}; audio without transcripts is learned from with "
            "data.transcripts=none"
        )
    listed = [_list_row(table, audio, row, untranscribed, labels) for row in rows]
    return tell_apart(listed, [bool(row.values.get("id")) for row in rows])


def _rename(
    table: Path, columns: set[str], rows: list[Row], names: Mapping[str, str]
) -> tuple[set[str], list[Row]]:
    """Give columns the names of what they are for; one that has such a name of its own gives way."""
    if absent := sorted(set(names.values()) - columns):
        found = ", ".join(sorted(columns)) or "an empty file"
        raise DataError(f"data.columns: {table} has no column {absent[0]} (there: {found})")
    if not names:
        return columns, rows
    kept = columns - set(names.values())
    return kept | set(names), [replace(row, values=_rename_values(row.values, names)) for row in rows]


def _rename_values(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    kept = {column: value for column, value in values.items() if column not in names.values()}
    return kept | {use: values[column] for use, column in names.items() if column in values}


def _read_labels(values: Mapping[str, Any], labels: Collection[str]) -> dict[str, str]:
    """Labels that are known; a cell that is empty is not."""
    found = {name: str(values[name]).strip() for name in labels if values.get(name) is not None}
    return {name: value for name, value in found.items() if value}


def list_common_voice(root: Path, split: str) -> list[ListedUtterance]:
    """List a split of Common Voice (Ardila et al., 2020, section 4), or of anything laid out like it.

    A language's folder holds ``train.tsv``, ``dev.tsv``, ``test.tsv``, ``validated.tsv`` and others beside ``clips/``.
    Columns come and go between releases; ``client_id``, ``path`` and ``sentence`` are in all of them. Headers of
    releases 6.1 and 17 (all columns are separated by tabs), and the start of a line::

        client_id path sentence up_votes down_votes age gender accent locale segment
        client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents variant locale ...
        01a44ed5...<TAB>common_voice_en_17779714.mp3<TAB>Two-wave sources are perfectly coherent if<TAB>...

    Args:
        root: the folder of one language, such as ``cv-corpus-13.0-2023-03-09/en``, or of all.
        split: stem of a TSV in it, below a folder of all with the language, such as ``pl/train``.

    Returns:
        The clips in the table's order, the client as the speaker.

    Raises:
        DataError: there is no such table; those that are there are named.
    """
    table = root / f"{split}.tsv"
    if not table.is_file():
        there = ", ".join(sorted(path.stem for path in table.parent.glob("*.tsv"))) or "no TSV at all"
        raise DataError(
            f"data: no {table.name} in {table.parent} (there: {there}); data.root is the folder of one language, with "
            "clips/, or above it, with splits such as pl/train"
        )
    return list_table(table, audio=table.parent / "clips")


def _list_row(
    table: Path, audio: Path, row: Row, untranscribed: bool, labels: Collection[str]
) -> ListedUtterance:
    values, name = row.values, f"{table.name}:{row.line}"
    text = next((values[column] for column in _TEXT_COLUMNS if isinstance(values.get(column), str)), None)
    path = next((values[column] for column in PATH_COLUMNS if values.get(column)), None)
    if row.problem or not isinstance(path, str) or (text is None and not untranscribed):
        return ListedUtterance(name, table, "", "", problem=f"{name}: {row.problem or 'not a line with path and text'}")
    if Path(path.strip()).name in ("", ".."):
        return ListedUtterance(name, table, "", "", problem=f"{name}: {path!r} names no file")
    # Cells are often padded; a file whose name is so keeps it.
    if path != path.strip() and not os.path.lexists(audio / path):
        path = path.strip()
    stretch, problem = None, None
    try:
        stretch = read_stretch(values)
    except DataError as error:
        problem = f"{name}: {error}"
    # The table's folder distinguishes files of the same name that two tables list.
    default = f"{table.parent.name}/{Path(path).with_suffix('').as_posix()}{_name_stretch(stretch)}"
    speaker = next((str(values[key]) for key in _SPEAKER_COLUMNS if values.get(key)), UNKNOWN_SPEAKER)
    name, known = str(values.get("id") or default), _read_labels(values, [*labels, WORD_TIMES])
    return ListedUtterance(name, audio / path, text or "", speaker, problem, stretch, known)


def _name_stretch(stretch: Stretch | None) -> str:
    """Its start and end in milliseconds, so that stretches of one file have names of their own."""
    if stretch is None or stretch.start is None:
        return ""
    end = "" if stretch.duration is None else f"-{round(1000 * (stretch.start + stretch.duration)):07d}"
    return f"-{round(1000 * stretch.start):07d}{end}"
