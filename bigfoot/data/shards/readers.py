"""Audio out of shards: bytes at an address, cheapest where addresses come in the order of the shard."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol

from bigfoot.data.shards.address import Address
from bigfoot.data.shards.columns import audio_bytes, open_rows
from bigfoot.errors import DataError
from bigfoot.storage.files import open_forwards

OPEN_FILES = Path("/proc/self/fd")
"""Where Linux shows a process its open files; opened again, each is read from its start."""


class ShardReader(Protocol):
    """An open shard."""

    def read(self, address: Address) -> bytes:
        """Return the content of an audio file."""

    def close(self) -> None:
        """Close it."""


class TarReader:
    """Ranges of a tar file.

    Args:
        shard: its path or URL.
    """

    def __init__(self, shard: str) -> None:
        self._file = open_forwards(shard)

    def read(self, address: Address) -> bytes:
        """Return the bytes at an address.

        Raises:
            DataError: the shard is shorter than it was.
        """
        self._file.seek(address.start)
        content = self._file.read(address.size)
        if len(content) != address.size:
            raise DataError(f"{address}: {len(content)} bytes came; the shard was changed, prepare the data again")
        return content

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class RowReader:
    """Audio columns of a Parquet or Arrow file, a batch of rows at a time.

    Args:
        shard: its path or URL.
    """

    def __init__(self, shard: str) -> None:
        self._shard = shard
        self._rows: Iterator[tuple[int, dict[str, object]]] = iter(())
        self._next = -1

    def read(self, address: Address) -> bytes:
        """Return the audio of a row.

        Raises:
            DataError: the shard has fewer rows than it had.
        """
        if not 0 <= self._next <= address.start:
            self._rows, self._next = open_rows(self._shard, address.column), 0
        for number, row in self._rows:
            self._next = number + 1
            if number == address.start:
                return audio_bytes(row)
        self._next = -1
        raise DataError(f"{address}: there is no such row; the shard was changed, prepare the data again")

    def close(self) -> None:
        """Let go of the rows."""
        self._rows, self._next = iter(()), -1


READERS: dict[str, Callable[[str], ShardReader]] = {".tar": TarReader, ".parquet": RowReader, ".arrow": RowReader}
"""Readers of shards by suffix."""


def open_shard(shard: str) -> ShardReader:
    """Open a shard.

    Args:
        shard: its path or URL.
    """
    return READERS[PurePosixPath(shard).suffix](shard)


def read_address(address: Address) -> bytes:
    """Return the audio at one address by itself.

    Args:
        address: of a cut.
    """
    reader = open_shard(address.shard)
    try:
        return reader.read(address)
    finally:
        reader.close()


@contextmanager
def as_file(path: str, content: bytes | None = None) -> Iterator[str]:
    """Have audio as a file of this machine for a while: soundfile and all checks read files.

    Args:
        path: a path, which stays what it is, or an address.
        content: of the address, where it was read already.

    Yields:
        The path.
    """
    address = Address.parse(path)
    if address is None:
        yield path
        return
    content = read_address(address) if content is None else content
    with _held(content) as file:
        yield file


@contextmanager
def _held(content: bytes) -> Iterator[str]:
    """Have bytes under a path of this process; in memory on Linux: a folder on a disk takes longer than decoding."""
    if hasattr(os, "memfd_create") and OPEN_FILES.is_dir():
        with os.fdopen(os.memfd_create("audio"), "wb") as memory:
            memory.write(content)
            memory.flush()
            yield str(OPEN_FILES / str(memory.fileno()))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "audio")
        file.write_bytes(content)
        yield str(file)
