r"""Inventory of the files that bigfoot wrote into a folder: a hidden file with a line for each file.

The first line names the format, later lines of one name win::

    {"bigfoot": 1}
    {"name": "config.json", "size": 1204, "crc32": 3735928559, "whole": true}

Files of a folder that was written as a whole are marked so; others were put into whatever folder they lie in.
"""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from bigfoot.errors import OutputError

MARKER = ".bigfoot"
"""Without a suffix: nothing that reads a folder's ``*.json`` or weights meets it."""
_HEAD = {"bigfoot": 1}
_LONGEST = 64 << 20
"""Bytes; a line has about a hundred."""
_CACHED = 64


@dataclass(frozen=True)
class Entry:
    """A file as it was written.

    Args:
        size: in bytes.
        crc32: of its content.
        whole: whether its folder was written as a whole with it.
    """

    size: int
    crc32: int
    whole: bool = False

    @classmethod
    def of(cls, path: Path, whole: bool = False) -> Entry:
        """Read a file."""
        size, checksum = 0, 0
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                size, checksum = size + len(block), zlib.crc32(block, checksum)
        return cls(size, checksum, whole)

    def is_of(self, path: Path) -> bool:
        """Return whether a file is unchanged."""
        try:
            return path.stat().st_size == self.size and Entry.of(path, self.whole) == self
        except OSError:
            return False


class Inventory:
    """The files that bigfoot wrote into a folder.

    Args:
        folder: may be absent.

    Attributes:
        entries: by name, with slashes below the folder; empty without a marker.
        is_there: whether the folder has a marker of ours.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / MARKER
        self._load()

    def _load(self) -> None:
        known = _known(self._file)
        self.is_there = known is not None
        self.entries: dict[str, Entry] = {} if known is None else known.entries

    def check(self) -> None:
        """Refuse a folder in which something else has the marker's name.

        Raises:
            OutputError: it has.
        """
        if not self.is_there:
            self._load()  # another process may have made it
        if self.is_there or not os.path.lexists(self._file):
            return
        if self._file.is_symlink() or not _is_empty(self._file):
            raise OutputError(f"{self._file} is not bigfoot's, and stands where it lists what it wrote; move it")

    def claim(self) -> None:
        """Mark an empty folder, or one that is known to be bigfoot's, before anything is put into it.

        Raises:
            OutputError: something else has the marker's name.
        """
        self.check()
        if not self.is_there:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(_encode(_HEAD))

    def add(self, name: str) -> None:
        """Note a file of the folder that has just been written.

        Args:
            name: of the file.

        Raises:
            OutputError: something else has the marker's name.
        """
        self.check()
        entry = Entry.of(self._file.with_name(name))
        head = "" if self.is_there else _encode(_HEAD)
        # One writing at the end: other processes may add their lines at the same time, a head of their own too.
        with self._file.open("a", encoding="utf-8") as file:
            file.write(head + _line(name, entry))
        self._load()


def write_inventory(folder: Path) -> int:
    """Note all files of a folder that bigfoot alone has filled.

    Args:
        folder: of regular files and folders.

    Returns:
        Permissions of a file made now, which follow the process's umask.
    """
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = [_line(name, Entry.of(folder / name, whole=True)) for name in names if name != MARKER]
    (folder / MARKER).write_text(_encode(_HEAD) + "".join(lines), encoding="utf-8")
    return (folder / MARKER).stat().st_mode & 0o777


def _line(name: str, entry: Entry) -> str:
    whole = {"whole": True} if entry.whole else {}
    return _encode({"name": name, "size": entry.size, "crc32": entry.crc32, **whole})


def _encode(content: Mapping[str, str | int]) -> str:
    return json.dumps(content) + "\n"


def _is_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == 0


@dataclass
class _Known:
    """Cached content of a marker, so that adding many files does not read all lines for each.

    Args:
        identity: of the file.
        size: bytes that were read, up to the last whole line.
        entries: by name.
    """

    identity: tuple[int, int]
    size: int = 0
    entries: dict[str, Entry] = field(default_factory=dict)

    def read_on(self, file: BinaryIO) -> None:
        """Read the lines that were added since."""
        file.seek(self.size)
        raw = file.read(_LONGEST)
        whole = raw[: raw.rfind(b"\n") + 1]
        self.size += len(whole)
        for line in whole.splitlines():
            found = _parse(line)
            name, size, checksum = (found.get(key) for key in ("name", "size", "crc32"))
            if isinstance(name, str) and isinstance(size, int) and isinstance(checksum, int):
                self.entries[name] = Entry(size, checksum, found.get("whole") is True)


_cache: OrderedDict[Path, _Known] = OrderedDict()
_guard = threading.Lock()


def _known(path: Path) -> _Known | None:
    """Return the content of a marker; None of what is no file, a link, or not ours."""
    try:
        if path.is_symlink() or not path.is_file():
            return None
        with _guard, path.open("rb") as file:
            status = os.fstat(file.fileno())
            known = _cache.pop(path, None)
            if known is None or known.identity != (status.st_dev, status.st_ino) or known.size > status.st_size:
                known = _Known((status.st_dev, status.st_ino))
                if _parse(file.readline(1000)) != _HEAD:
                    return None
            known.read_on(file)
            _cache[path] = known
            while len(_cache) > _CACHED:
                _cache.popitem(last=False)
            return known
    except OSError:
        return None


def _parse(line: bytes) -> dict[str, object]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
