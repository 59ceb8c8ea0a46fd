"""Store embeddings while they are computed: two append-only files, converted to one safetensors file at the end.

The folder ``NAME.safetensors.part/`` beside the output holds ``request.json``, ``tensors.bin`` (concatenated numbers)
and ``index.jsonl`` (one line per tensor). A line is written after its numbers: when a killed process is resumed,
everything after the last whole line is cut off.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bigfoot.errors import DataError, OutputError
from bigfoot.storage.digests import digest_file
from bigfoot.storage.ownership import OWN_ONLY, MayReplace, check_file
from bigfoot.storage.places import leftovers, locate, temporary
from bigfoot.storage.replace import replacing
from bigfoot.types import Seconds

_LONGEST_HEADER = 100_000_000
"""Bytes; safetensors opens no file with a longer header."""
_LONGEST_METADATA = 1 << 16
_BYTES = 4
_TENSORS, _INDEX = "tensors_sha256", "index_sha256"
"""Key of the metadata: digest that detects damage."""
_HEAD = b'{"__metadata__":{"digest":"'
"""Start of the header of every file that this module writes."""
_PARTS = {"request.json", "tensors.bin", "index.jsonl"}


@dataclass(frozen=True)
class Done:
    """Progress read from the existing lines of the index.

    Args:
        recordings: number of finished ones, including unreadable ones.
        pieces: number of finished ones of the current recording.
        text: words of those pieces.
        tensors: number of stored ones.
        failed: number of unreadable recordings.
        seconds: of embedded audio.
    """

    recordings: int = 0
    pieces: int = 0
    text: str = ""
    tensors: int = 0
    failed: int = 0
    seconds: Seconds = 0.0


def check_places(output: Path, may: MayReplace = OWN_ONLY) -> None:
    """Refuse to overwrite files that are not bigfoot's, before anything is computed.

    Args:
        output: the safetensors file to write.
        may: what may be replaced, besides embeddings and their indexes.

    Raises:
        OutputError: the file, its index or the folder beside it is not bigfoot's.
    """
    quiet = replace(may, report=lambda _: None)
    check_file(output, quiet, _is_embeddings)
    check_file(index_of(output), quiet, _is_index)
    folder = _part_of(output)
    if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir() or set(os.listdir(folder)) - _PARTS):
        raise OutputError(
            f"{folder} is not bigfoot's, and is where embeddings are stored while they are computed; move it away"
        )


def _is_embeddings(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8 + len(_HEAD))[8:] == _HEAD


def _is_index(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            row = json.loads(file.readline(1 << 20))
        except (ValueError, RecursionError):
            return False
    return isinstance(row, dict) and "name" in row and ("problem" in row or {"key", "piece", "pieces"} <= set(row))


def _part_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.part")


def open_store(
    output: Path, request: dict[str, Any], may: MayReplace = OWN_ONLY
) -> tuple[EmbeddingStore, Done, bool]:
    """Resume an earlier process, or start.

    Args:
        output: the safetensors file to write.
        request: everything that determines its content, JSON-serializable; with another request, work starts over.
        may: see ``check_places``.

    Returns:
        The store, its progress, and whether work for another request was discarded.

    Raises:
        OSError: the folder is not writable.
    """
    check_places(output, may)
    folder = _part_of(output)
    wanted, stored = json.dumps(request, sort_keys=True), folder / "request.json"
    parts = all((folder / name).is_file() for name in _PARTS)
    stale = folder.is_dir() and not (parts and stored.read_bytes() == wanted.encode())
    if stale:
        shutil.rmtree(folder)
    if not folder.is_dir():
        for leftover in leftovers(locate(folder), "new"):
            shutil.rmtree(leftover, ignore_errors=True)
        beside = temporary(folder, "new")
        beside.mkdir(parents=True)
        for name in ("tensors.bin", "index.jsonl"):
            (beside / name).touch()
        (beside / "request.json").write_text(wanted, encoding="utf-8")
        beside.rename(folder)
    done = _cut_off_what_is_not_whole(folder)
    return EmbeddingStore(output, folder, may), done, stale


def is_finished(output: Path, digest: str) -> tuple[bool, str]:
    """Check whether a file and its index exist, for the same request, and are whole.

    Args:
        output: the safetensors file.
        digest: of the request, stored in the file's metadata.

    Returns:
        Whether they are; and, if they are of this request, a few words on the damage.
    """
    index = index_of(output)
    if not output.is_file() or not index.is_file():
        return False, ""
    with output.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > _LONGEST_HEADER:
            return False, ""
        header = file.read(size)
        metadata = _read_metadata(header)
        if metadata.get("digest") != digest:
            return False, ""
        if digest_file(index) != metadata.get(_INDEX):
            return False, f"{index.name} is damaged or was changed"
        if header != _encode_header(_read_rows(index), metadata):
            return False, "its header is damaged"
        found = hashlib.sha256()
        while block := file.read(1 << 20):
            found.update(block)
    return (True, "") if found.hexdigest() == metadata.get(_TENSORS) else (False, "it is cut off or damaged")


def _read_metadata(header: bytes) -> dict[str, str]:
    """Read the metadata, which come first; empty if they are damaged."""
    start = len(b'{"__metadata__":')
    try:
        # Decoded leniently: a character that is cut off at the end is not reported.
        metadata, _ = json.JSONDecoder().raw_decode(header[start : start + _LONGEST_METADATA].decode(errors="replace"))
    except (ValueError, RecursionError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def _read_rows(index: Path) -> Iterator[dict[str, Any]]:
    with index.open(encoding="utf-8") as file:
        yield from (row for row in map(json.loads, file) if "shape" in row)


def _encode_header(rows: Iterable[dict[str, Any]], metadata: dict[str, str]) -> bytes:
    """Build the header before the tensors, padded with blanks to a multiple of eight bytes."""
    parts = [b'{"__metadata__":' + json.dumps(metadata, separators=(",", ":")).encode()]
    offset = 0
    for row in rows:
        end = offset + _size(row)
        about = {"dtype": "F32", "shape": row["shape"], "data_offsets": [offset, end]}
        parts.append(f"{json.dumps(row['key'], ensure_ascii=False)}:{json.dumps(about)}".encode())
        offset = end
    header = b",".join(parts) + b"}"
    return header + b" " * (-len(header) % 8)


def index_of(output: Path) -> Path:
    """Return the path of the index beside a safetensors file.

    Examples:
        >>> index_of(Path("out/speech.safetensors")).as_posix()
        'out/speech.jsonl'
    """
    return output.with_suffix(".jsonl")


def digests_of(output: Path) -> Path:
    """Return the path of the file that remembers the digests of the recordings; it may be deleted.

    Examples:
        >>> digests_of(Path("out/speech.safetensors")).as_posix()
        'out/.speech.safetensors.digests.jsonl.gz'
    """
    return output.with_name(f".{output.name}.digests.jsonl.gz")


def _cut_off_what_is_not_whole(folder: Path) -> Done:
    done, whole, size = Done(), 0, 0
    held = (folder / "tensors.bin").stat().st_size
    with (folder / "index.jsonl").open("rb+") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                row = json.loads(line)
                end, counted = size + _size(row), _count(done, row)
            # Everything after a damaged line is computed again.
            except (ValueError, LookupError, TypeError, RecursionError):
                break
            if end > held:
                break
            done, whole, size = counted, whole + len(line), end
        file.truncate(whole)
    os.truncate(folder / "tensors.bin", size)
    return done


def _size(row: dict[str, Any]) -> int:
    return _BYTES * int(np.prod(row["shape"])) if "shape" in row else 0


def _count(done: Done, row: dict[str, Any]) -> Done:
    if "shape" not in row:
        return replace(done, recordings=done.recordings + 1, failed=done.failed + 1)
    done = replace(done, tensors=done.tensors + 1, seconds=done.seconds + row["end"] - row["start"])
    if row["piece"] + 1 == row["pieces"]:
        return replace(done, recordings=done.recordings + 1, pieces=0, text="")
    return replace(done, pieces=done.pieces + 1, text=" ".join(filter(None, (done.text, row["text"]))))


class EmbeddingStore:
    """Store tensors one by one; see ``open_store``.

    Args:
        output: the safetensors file to write.
        folder: of the append-only files.
        may: what may be replaced.
    """

    def __init__(self, output: Path, folder: Path, may: MayReplace = OWN_ONLY) -> None:
        self._output, self._folder, self._may = output, folder, may
        self._tensors = (folder / "tensors.bin").open("ab")
        self._index = (folder / "index.jsonl").open("ab")

    def add(self, row: dict[str, Any], tensor: npt.NDArray[np.float32] | None = None) -> None:
        """Append a line and its tensor, or a line with the reason why there is none.

        Args:
            row: its line of the index, with ``key``, ``piece``, ``pieces`` and ``text`` if there is a tensor.
            tensor: of any shape.
        """
        if tensor is not None:
            row = row | {"shape": list(tensor.shape)}
            self._tensors.write(np.ascontiguousarray(tensor, dtype="<f4").tobytes())
            self._tensors.flush()
        self._index.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        self._index.flush()

    def close(self) -> None:
        """Close the files, for another process to resume."""
        self._tensors.close()
        self._index.close()

    def finish(self, metadata: dict[str, str]) -> None:
        """Merge the two files into the output, and move it and its index to their places.

        Args:
            metadata: of the safetensors file, ``digest`` among it.

        Raises:
            DataError: more tensors than a safetensors file can name; the computed ones are kept.
        """
        self.close()
        index, kept = index_of(self._output), self._folder / "index.jsonl"
        sums = {_TENSORS: digest_file(self._folder / "tensors.bin"), _INDEX: digest_file(kept)}
        header = _encode_header(_read_rows(kept), metadata | sums)
        if len(header) > _LONGEST_HEADER:
            raise DataError(
                f"{self._output}: a safetensors file cannot name so many tensors (its header would have "
                f"{len(header):,} bytes, {_LONGEST_HEADER:,} are allowed); give the recordings in several folders"
            )
        with (
            replacing(self._output, may=self._may, is_own=_is_embeddings, listed=False) as beside,
            beside.open("wb") as file,
            (self._folder / "tensors.bin").open("rb") as tensors,
        ):
            file.write(len(header).to_bytes(8, "little") + header)
            shutil.copyfileobj(tensors, file, 1 << 20)
        check_file(index, self._may, _is_index)
        os.replace(kept, index)
        shutil.rmtree(self._folder)
