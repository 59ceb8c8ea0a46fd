"""What tables say they hold (TSV, CSV, JSONL), Common Voice's among them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bigfoot.data.manifests import ListedUtterance
from bigfoot.errors import DataError

_TEXT_COLUMNS = ("text", "transcript", "sentence")
_SPEAKER_COLUMNS = ("speaker", "client_id")


def list_table(table: Path, audio: Path | None = None) -> list[ListedUtterance]:
    """List a table of utterances; the suffix says what it is.

    A header names the columns ``path`` (relative to the table's folder) and ``text`` (or ``transcript``, or
    ``sentence``); ``id`` and ``speaker`` (or ``client_id``) are optional, others are passed over. In JSONL these are
    the keys::

        id<TAB>path<TAB>seconds<TAB>speaker<TAB>transcript
        19-198-0000<TAB>audio/19/19-198-0000.ogg<TAB>1.965<TAB>19<TAB>NORTHANGER ABBEY
        {"path": "audio/19/19-198-0000.ogg", "text": "NORTHANGER ABBEY", "speaker": "19"}

    Args:
        table: a ``.tsv``, ``.csv`` or ``.jsonl`` file.
        audio: folder to which paths are relative; the table's own by default.

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
    audio, read = audio or table.parent, readers[table.suffix.lower()]
    try:
        return [_list_row(table, audio, number, row) for number, row in read(table)]
    except UnicodeDecodeError as error:
        raise DataError(f"data: {table} is not UTF-8 ({error}); convert it with iconv") from error


def list_common_voice(root: Path, split: str) -> list[ListedUtterance]:
    """List a split of Common Voice (Ardila et al., 2020, section 4), or of anything laid out like it.

    A language's folder holds ``train.tsv``, ``dev.tsv``, ``test.tsv``, ``validated.tsv`` and others beside ``clips/``.
    Columns come and go between releases; ``client_id``, ``path`` and ``sentence`` are in all of them. Headers of
    releases 6.1 and 17 (all columns are separated by tabs), and how a line begins::

        client_id path sentence up_votes down_votes age gender accent locale segment
        client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents variant locale ...
        01a44ed5...<TAB>common_voice_en_17779714.mp3<TAB>Two-wave sources are perfectly coherent if<TAB>...

    Args:
        root: the folder of one language, such as ``cv-corpus-13.0-2023-03-09/en``.
        split: stem of a TSV in it.

    Returns:
        The clips in the table's order, the client as the speaker.

    Raises:
        DataError: there is no such table; those that are there are named.
    """
    table = root / f"{split}.tsv"
    if not table.is_file():
        there = ", ".join(sorted(path.stem for path in root.glob("*.tsv"))) or "no TSV at all"
        raise DataError(
            f"data: no {table.name} in {root} (there: {there}); data.root is the folder of one language, with clips/"
        )
    return list_table(table, audio=root / "clips")


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


def _list_row(table: Path, audio: Path, number: int, row: dict[str, Any]) -> ListedUtterance:
    text = next((row[name] for name in _TEXT_COLUMNS if isinstance(row.get(name), str)), None)
    path = row.get("path")
    if not isinstance(path, str) or not path or text is None:
        name = f"{table.name}:{number}"
        return ListedUtterance(name, table, "", "", problem=f"{name}: not a line with path and text")
    # The table's folder tells apart files of the same name that two tables list.
    name = str(row.get("id") or f"{table.parent.name}/{Path(path).with_suffix('').as_posix()}")
    speaker = next((str(row[key]) for key in _SPEAKER_COLUMNS if row.get(key)), "unknown")
    return ListedUtterance(name, audio / path, text, speaker)
