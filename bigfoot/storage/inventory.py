r"""What bigfoot wrote into a folder: a hidden file with a line for each file.

The first line says what it is, later lines of one name win::

    {"bigfoot": 1}
    {"name": "config.json", "size": 1204, "crc32": 3735928559}
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from bigfoot.errors import OutputError

MARKER = ".bigfoot"
"""Without a suffix: nothing that reads a folder's ``*.json`` or weights meets it."""
_HEAD = {"bigfoot": 1}
_LONGEST = 64 << 20
"""Bytes; a line has about a hundred."""


@dataclass(frozen=True)
class Entry:
    """A file as it was written."""

    size: int
    crc32: int

    @classmethod
    def of(cls, path: Path) -> Entry:
        """Read a file."""
        size, checksum = 0, 0
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                size, checksum = size + len(block), zlib.crc32(block, checksum)
        return cls(size, checksum)

    def is_of(self, path: Path) -> bool:
        """Whether a file is still so."""
        try:
            return path.stat().st_size == self.size and Entry.of(path) == self
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
        self._lines = _read(self._file)
        self.is_there = self._lines[:1] == [_HEAD]
        self.entries: dict[str, Entry] = {}
        for line in self._lines[1:] if self.is_there else []:
            name, size, checksum = (line.get(key) for key in ("name", "size", "crc32"))
            if isinstance(name, str) and isinstance(size, int) and isinstance(checksum, int):
                self.entries[name] = Entry(size, checksum)

    def check(self) -> None:
        """Refuse a folder in which something else has the marker's name.

        Raises:
            OutputError: it has.
        """
        if self.is_there or not os.path.lexists(self._file):
            return
        if self._file.is_symlink() or not _is_empty(self._file):
            raise OutputError(f"{self._file} is not bigfoot's, and stands where it lists what it wrote; move it")

    def add(self, name: str) -> None:
        """Note a file of the folder that has just been written.

        Args:
            name: of the file.

        Raises:
            OutputError: something else has the marker's name.
        """
        self.check()
        if not self.is_there:
            self._file.write_text(_encode(_HEAD), encoding="utf-8")
            self.is_there = True
        self.entries[name] = Entry.of(self._file.with_name(name))
        with self._file.open("a", encoding="utf-8") as file:
            file.write(_line(name, self.entries[name]))


def write_inventory(folder: Path) -> int:
    """Note all files of a folder that bigfoot alone has filled.

    Args:
        folder: of regular files and folders.

    Returns:
        Permissions of a file made now, which follow the process's umask.
    """
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = [_line(name, Entry.of(folder / name)) for name in names if name != MARKER]
    (folder / MARKER).write_text(_encode(_HEAD) + "".join(lines), encoding="utf-8")
    return (folder / MARKER).stat().st_mode & 0o777


def _line(name: str, entry: Entry) -> str:
    return _encode({"name": name, "size": entry.size, "crc32": entry.crc32})


def _encode(content: dict[str, str | int]) -> str:
    return json.dumps(content) + "\n"


def _is_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == 0


def _read(file: Path) -> list[dict[str, object]]:
    """Lines that are whole; none of what is no file, a link or far too large."""
    try:
        if file.is_symlink() or not file.is_file() or file.stat().st_size > _LONGEST:
            return []
        raw = file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return []
    lines = []
    for line in raw.splitlines():
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            lines.append(found)
    return lines
