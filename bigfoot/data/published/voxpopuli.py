"""VoxPopuli (Wang et al., 2021): sessions of the European Parliament, whole or cut into utterances."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from bigfoot.data.manifests import UNKNOWN_SPEAKER, ListedUtterance
from bigfoot.data.stretches import Stretch, read_stretch
from bigfoot.data.transcripts import split_lines
from bigfoot.errors import DataError


def list_voxpopuli(root: Path, split: str) -> list[ListedUtterance]:
    """List a split of a language.

    The corpus's own scripts cut utterances; lhotse's users keep the sessions, with the annotations beside them::

        transcribed_data/en/asr_train.tsv      id<TAB>raw_text<TAB>normalized_text<TAB>speaker_id<TAB>split...
        transcribed_data/en/2018/20180313-0900-PLENARY-12-en_20180313-16:10:32_0.ogg

        asr_en.tsv.gz                          session_id|id_|...|normed_text|...|start_time|end_time
        raw_audios/en/2018/20180313-0900-PLENARY-12_en.ogg

    Args:
        root: folder of ``transcribed_data`` or of ``raw_audios``.
        split: language and split, such as ``en/train``.

    Returns:
        The utterances in the order of the table, with the label ``gender`` where it is known.

    Raises:
        DataError: the split is there in neither form.
    """
    language, _, name = split.partition("/")
    cut = root / "transcribed_data" / language
    if (cut / f"asr_{name}.tsv").is_file():
        return [_list_cut(row, cut) for row in _read_table(cut / f"asr_{name}.tsv", "\t")]
    tables = (root / f"asr_{language}.tsv.gz", root / f"asr_{language}.tsv")
    table = next((found for found in tables if found.is_file()), None)
    if table is None:
        raise DataError(
            f"data: {root} holds neither transcribed_data/{language}/asr_{name}.tsv nor asr_{language}.tsv.gz beside "
            "raw_audios; expected LANGUAGE/SPLIT, such as en/train"
        )
    sessions = {_session(path, language): path for path in sorted((root / "raw_audios" / language).rglob("*.ogg"))}
    rows, counts, listed = _read_table(table, "|"), dict[str, int](), []
    for row in rows:
        session = row.get("session_id") or ""
        counts[session] = counts.get(session, 0) + (row.get("split") in ("train", "dev", "test"))
        if row.get("split") == name:
            listed.append(_list_stretch(row, session, counts[session], sessions.get(session), table))
    return listed


def _session(path: Path, language: str) -> str:
    return path.stem.removesuffix(f"_{language}").removesuffix("_original")


def _list_cut(row: Mapping[str, str], folder: Path) -> ListedUtterance:
    name = row["id"]
    path = folder / name[:4] / f"{name}.ogg"
    return ListedUtterance(name, path, row.get("normalized_text") or "", _speaker(row), labels=_labels(row))


def _list_stretch(
    row: Mapping[str, str], session: str, number: int, path: Path | None, table: Path
) -> ListedUtterance:
    name, stretch, problem = f"{session}-{number}", None, None if path else "its session is not below raw_audios"
    try:
        stretch = read_stretch({key: row.get(key) for key in ("start_time", "end_time")}) or Stretch()
    except DataError as error:
        problem = str(error)
    text = row.get("normed_text") or ""
    return ListedUtterance(name, path or table, text, _speaker(row), problem, stretch, _labels(row))


def _speaker(row: Mapping[str, str]) -> str:
    speaker = row.get("speaker_id") or ""
    return UNKNOWN_SPEAKER if speaker in ("", "None") else speaker


def _labels(row: Mapping[str, str]) -> dict[str, str]:
    return {"gender": row["gender"]} if row.get("gender") else {}


def _read_table(table: Path, separator: str) -> Iterator[dict[str, str]]:
    try:
        content = gzip.decompress(table.read_bytes()) if table.suffix == ".gz" else table.read_bytes()
        lines = split_lines(content.decode())
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"data: {table} is damaged ({type(error).__name__}); copy it again") from error
    yield from csv.DictReader(lines, delimiter=separator, quoting=csv.QUOTE_NONE)
