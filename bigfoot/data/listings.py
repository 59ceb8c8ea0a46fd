"""What corpora on disk say they hold: LibriSpeech's own tree, and tables (TSV, CSV, JSONL).

lhotse has a LibriSpeech recipe, but it stops at the first bad file and passes over missing ones; here both are named.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bigfoot.data.manifests import ListedUtterance
from bigfoot.errors import DataError

_TEXT_COLUMNS = ("text", "transcript", "sentence")


def list_librispeech(root: Path, split: str) -> list[ListedUtterance]:
    """List a split of LibriSpeech, or of anything laid out like it.

    The tree is ``SPLIT/SPEAKER/CHAPTER/ID.flac``; beside it lies ``SPEAKER-CHAPTER.trans.txt`` with lines like::

        909-131041-0000 THE MODE OF APPOINTMENT OF THE CHIEF MAGISTRATE OF THE UNITED STATES IS ALMOST

    Args:
        root: the folder of the splits.
        split: name of a folder in it, such as ``train-clean-100``.

    Returns:
        The utterances in order of speaker, chapter and number; audio without a transcript has a ``problem``.

    Raises:
        DataError: there is no such split; those that are there are named.
    """
    folder = root / split
    if not folder.is_dir():
        there = ", ".join(sorted(p.name for p in root.iterdir() if p.is_dir())) or "no folder at all"
        raise DataError(f"data: no split {split} in {root} (there: {there})")
    return [item for chapter in sorted(folder.glob("*/*")) if chapter.is_dir() for item in _list_chapter(chapter)]


def _list_chapter(chapter: Path) -> Iterator[ListedUtterance]:
    speaker = chapter.parent.name
    listing = chapter / f"{speaker}-{chapter.name}.trans.txt"
    # What is not UTF-8 becomes a mark that no vocabulary holds, so that the line is named, the corpus not lost.
    lines = listing.read_text(encoding="utf-8", errors="replace").splitlines() if listing.is_file() else []
    listed = set()
    for line in lines:
        if not line.strip():
            continue
        name, _, text = line.strip().partition(" ")
        listed.add(name)
        yield ListedUtterance(name, chapter / f"{name}.flac", text, speaker)
    for path in sorted(chapter.glob("*.flac")):
        if path.stem not in listed:
            yield ListedUtterance(path.stem, path, "", speaker, problem=f"no transcript in {listing.name}")


def list_table(table: Path) -> list[ListedUtterance]:
    """List a table of utterances; the suffix says what it is.

    A header names the columns ``path`` (relative to the table's folder) and ``text`` (or ``transcript``, or
    ``sentence``); ``id`` and ``speaker`` are optional, others are passed over. In JSONL these are the keys::

        id<TAB>path<TAB>seconds<TAB>speaker<TAB>transcript
        19-198-0000<TAB>audio/19/19-198-0000.ogg<TAB>1.965<TAB>19<TAB>NORTHANGER ABBEY
        {"path": "audio/19/19-198-0000.ogg", "text": "NORTHANGER ABBEY", "speaker": "19"}

    Args:
        table: a ``.tsv``, ``.csv`` or ``.jsonl`` file.

    Returns:
        The utterances in the table's order; a broken line is one with a ``problem``.

    Raises:
        DataError: no such file, an unknown suffix, or columns are missing.
    """
    readers = {".tsv": _read_separated, ".csv": _read_separated, ".jsonl": _read_json_lines}
    if table.suffix.lower() not in readers:
        raise DataError(f"data: {table} is not a table; expected a file ending in .tsv, .csv or .jsonl")
    if not table.is_file():
        raise DataError(f"data: no table {table}; tables are looked up as given and then under data.root")
    try:
        return [_list_row(table, number, row) for number, row in readers[table.suffix.lower()](table)]
    except UnicodeDecodeError as error:
        raise DataError(f"data: {table} is not UTF-8 ({error}); convert it with iconv") from error


def _read_separated(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    tabs = table.suffix.lower() == ".tsv"
    with table.open(encoding="utf-8-sig", newline="") as file:
        # In a TSV a quotation mark is a quotation mark: transcripts hold lone ones.
        reader = csv.reader(
            file, "excel-tab" if tabs else "excel", quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL
        )
        columns = next(reader, [])
        if "path" not in columns or not set(columns) & set(_TEXT_COLUMNS):
            found = ", ".join(columns) or "an empty file"
            raise DataError(f"data: {table} needs a header with the columns path and text; found: {found}")
        for row in reader:
            if row:
                yield reader.line_num, dict(zip(columns, row, strict=False)) if len(row) == len(columns) else {}


def _read_json_lines(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(table.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            yield number, row if isinstance(row, dict) else {}


def _list_row(table: Path, number: int, row: dict[str, Any]) -> ListedUtterance:
    text = next((row[name] for name in _TEXT_COLUMNS if isinstance(row.get(name), str)), None)
    path = row.get("path")
    if not isinstance(path, str) or not path or text is None:
        name = f"{table.name}:{number}"
        return ListedUtterance(name, table, "", "", problem=f"{name}: not a line with path and text")
    # The table's folder tells apart files of the same name that two tables list.
    name = str(row.get("id") or f"{table.parent.name}/{Path(path).with_suffix('').as_posix()}")
    return ListedUtterance(name, table.parent / path, text, str(row.get("speaker") or "unknown"))
