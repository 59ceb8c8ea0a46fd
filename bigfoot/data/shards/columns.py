"""Rows of Parquet and Arrow files with audio in them, as Hugging Face's ``datasets`` writes them, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bigfoot.data.arrow_datasets import find_audio_column, import_arrow, name_class, read_class_names
from bigfoot.errors import DataError
from bigfoot.storage.files import opened

AUDIO = "\0audio"
"""Key of a row under which its audio is, whatever its column is called."""
_ROWS = 32


def open_rows(shard: str, audio: str | None = None) -> Iterator[tuple[int, dict[str, object]]]:
    """Read the rows of a file in their order.

    Args:
        shard: path or URL of a ``.parquet`` or ``.arrow`` file.
        audio: column of the audio; by default the one of that type, or of a usual name.

    Yields:
        Number, from 0, and values by column; classes by their names, the audio under ``AUDIO``.

    Raises:
        DataError: it is missing, damaged, or no column has audio.
        MissingExtraError: without pyarrow.
    """
    arrow, number = import_arrow(), 0
    with opened(shard) as file:
        for batch in _read_batches(arrow, shard, file):
            column = find_audio_column(arrow, batch.schema, audio, shard)
            names = read_class_names(batch.schema.metadata)
            for place in range(batch.num_rows):
                # One by one: a batch of audio may be large.
                row = {name: batch.column(each)[place].as_py() for each, name in enumerate(batch.schema.names)}
                recording = row.pop(column)
                values = {name: name_class(value, names.get(name)) for name, value in row.items()}
                yield number, values | {AUDIO: recording}
                number += 1


def _read_batches(arrow: Any, shard: str, file: Any) -> Iterator[Any]:  # noqa: ANN401
    if shard.endswith(".parquet"):
        yield from arrow.parquet.ParquetFile(file).iter_batches(batch_size=_ROWS)
    else:
        yield from arrow.ipc.open_stream(file)


def audio_bytes(row: dict[str, object]) -> bytes:
    """Return the content of a row's audio file.

    Args:
        row: of ``open_rows``.

    Raises:
        DataError: the row refers to a file elsewhere.
    """
    recording = row[AUDIO]
    content = recording.get("bytes") if isinstance(recording, dict) else recording
    if not isinstance(content, bytes) or not content:
        raise DataError("the row has no audio in it; data.corpus: datasets reads files beside a table")
    return content
