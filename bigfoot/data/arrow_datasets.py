"""Folders of Hugging Face's ``datasets``: Arrow files of ``save_to_disk``, or Parquet files as on its hub.

Both are read by pyarrow, on which ``datasets`` itself stands; what a column means is in the files' own metadata::

    dataset_dict.json   train/dataset_info.json   train/state.json   train/data-00000-of-00001.arrow
    data/train-00000-of-00002.parquet
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from bigfoot.data.rows import PATH_COLUMNS, Row
from bigfoot.errors import DataError, MissingExtraError
from bigfoot.storage.ownership import claim_folder
from bigfoot.storage.replace import swapped_in

_AUDIO_COLUMNS = ("audio", *PATH_COLUMNS, "file")
_SIGNS = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff\xfb": ".mp3", b"FORM": ".aiff"}
"""First bytes of files whose names are not kept."""


@dataclass(frozen=True)
class _Split:
    """Files of a split.

    Args:
        root: folder of the dataset, to which paths in it are relative.
        name: of the split.
        files: in their order.
    """

    root: Path
    name: str
    files: list[Path]


def read_dataset(root: Path, split: str, audio: str | None, store: Path) -> tuple[set[str], list[Row]]:
    """Read a split of a dataset folder as rows of a table.

    Args:
        root: folder of the dataset.
        split: its name; ``.`` for a dataset without splits.
        audio: column of the audio; by default the one of that type, or of a usual name.
        store: folder of bigfoot's own, in which audio is written that lies within the files.

    Returns:
        Names of the columns, the audio's being ``path``, and the rows; classes by their names.

    Raises:
        DataError: there is no such split, it is damaged, or no column has audio.
        MissingExtraError: without pyarrow.
    """
    arrow, found = import_arrow(), _find_split(root, split)
    columns: list[str] = []
    rows: list[Row] = []
    for file in found.files:
        try:
            for batch in _read_batches(arrow, file):
                if not columns:
                    columns, audio = list(batch.schema.names), find_audio_column(arrow, batch.schema, audio, root)
                names = read_class_names(batch.schema.metadata)
                rows += _read_rows(batch, len(rows), names, str(audio), found, store)
        except (arrow.ArrowException, OSError) as error:
            raise DataError(f"data: {file} is damaged: {str(error).splitlines()[0][:120]}; copy it again") from error
    return {"path", *columns} - {audio or ""} | ({"path"} if columns else set()), rows


def import_arrow() -> ModuleType:
    """Import pyarrow with what reads Parquet.

    Raises:
        MissingExtraError: without it.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("datasets", "pyarrow") from error
    return pyarrow


def _find_split(root: Path, split: str) -> _Split:
    folder = root / split
    files = sorted(folder.glob("*.arrow")) or sorted(folder.glob("*.parquet"))
    if not files:
        files = sorted(path for path in (*root.glob("*.parquet"), *root.glob("data/*.parquet"))
                       if path.name == f"{split}.parquet" or path.name.startswith(f"{split}-"))  # fmt: skip
    if not files:
        there = {path.parent.name for path in root.glob("*/*.arrow")}
        there |= {path.stem.split("-")[0] for path in (*root.glob("*.parquet"), *root.glob("data/*.parquet"))}
        named = ", ".join(sorted(there)) or "no Arrow or Parquet"
        raise DataError(f"data: no split {split} in {root} (there: {named})")
    state = folder / "state.json"
    if files[0].suffix == ".arrow" and state.is_file():
        files = _listed_files(state, files)
    return _Split(root, root.name if split == "." else split, files)


def _listed_files(state: Path, files: list[Path]) -> list[Path]:
    """Files in the order in which the dataset lists them."""
    try:
        content = json.loads(state.read_text(encoding="utf-8"))
        names = [str(item["filename"]) for item in content["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"data: {state} is damaged ({type(error).__name__}); copy it again") from error
    if content.get("_indices_files") or content.get("_indices_data_files"):
        raise DataError(f"data: {state.parent} is a selection of rows; write it with flatten_indices().save_to_disk()")
    there = {path.name: path for path in files}
    if gone := [name for name in names if name not in there]:
        raise DataError(f"data: {state.parent / gone[0]} is missing; copy it again")
    return [there[name] for name in names]


def _read_batches(arrow: ModuleType, file: Path) -> Iterator[Any]:
    if file.suffix == ".parquet":
        yield from arrow.parquet.ParquetFile(file).iter_batches(batch_size=100)
        return
    with arrow.memory_map(str(file)) as source:
        try:
            yield from arrow.ipc.open_stream(source)
        except arrow.ArrowInvalid:
            source.seek(0)
            reader = arrow.ipc.open_file(source)
            yield from (reader.get_batch(number) for number in range(reader.num_record_batches))


def _read_features(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """Types of columns as ``datasets`` notes them; none where it did not write the file."""
    try:
        found = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return {name: kind for name, kind in found.items() if isinstance(kind, dict)} if isinstance(found, dict) else {}


def read_class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """Return the names of the classes of columns.

    Args:
        metadata: of a file's schema.
    """
    kinds = _read_features(metadata).items()
    return {name: kind["names"] for name, kind in kinds if isinstance(kind.get("names"), list)}


def find_audio_column(arrow: ModuleType, schema: Any, given: str | None, root: Path | str) -> str:  # noqa: ANN401
    """Find the column of the audio.

    Args:
        arrow: pyarrow.
        schema: of a file.
        given: the column's name, where it is known.
        root: of the dataset, for messages.

    Returns:
        The name that is given, or else of the column of that type, or of a usual name.

    Raises:
        DataError: there is none.
    """
    there = ", ".join(schema.names)
    if given is not None:
        if given not in schema.names:
            raise DataError(f"data.columns: {root} has no column {given} (there: {there})")
        return given
    features = _read_features(schema.metadata)
    typed = [name for name, kind in features.items() if kind.get("_type") == "Audio" and name in schema.names]
    usual = [name for name in _AUDIO_COLUMNS if name in schema.names]
    structs = [field.name for field in schema if arrow.types.is_struct(field.type) and field.name in usual]
    if found := typed or structs or usual:
        return found[0]
    raise DataError(f"data: no column of {root} is audio (there: {there}); name it, data.columns={{path: ...}}")


def _read_rows(
    batch: Any, first: int, names: Mapping[str, list[str]], audio: str, split: _Split, store: Path  # noqa: ANN401
) -> Iterator[Row]:
    for number in range(batch.num_rows):
        # One by one: a batch of audio may be large.
        raw = {name: batch.column(place)[number].as_py() for place, name in enumerate(batch.schema.names)}
        recording = raw.pop(audio)
        values = {name: name_class(value, names.get(name)) for name, value in raw.items()}
        path = _place_audio(recording, first + number, split, store)
        problem = None if path else "has neither the bytes nor the path of a recording"
        name = str(values.get("id") or f"{split.name}-{first + number:07d}")
        yield Row(first + number + 1, values | {"path": path, "id": name}, problem)


def name_class(value: object, names: list[str] | None) -> object:
    """Return the name of a class; any other value as it is.

    Args:
        value: of a row.
        names: of the column's classes.
    """
    if names is None or not isinstance(value, int):
        return value
    # datasets writes -1 where a class is not known.
    return names[value] if 0 <= value < len(names) else None


def _place_audio(recording: object, number: int, split: _Split, store: Path) -> str:
    """Return the path of a recording, which is written where it has none of its own."""
    if not isinstance(recording, dict):
        return str(split.root / recording) if isinstance(recording, str) and recording else ""
    content, given = recording.get("bytes"), str(recording.get("path") or "")
    if not content:
        return str(split.root / given) if given else ""
    suffix = Path(given).suffix or next((end for sign, end in _SIGNS.items() if content.startswith(sign)), ".wav")
    path = store / split.name / f"{number:07d}{suffix}"
    if not (path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content):
        claim_folder(store)
        with swapped_in(path) as part:
            part.write_bytes(content)
    return str(path)
