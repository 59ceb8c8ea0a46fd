"""Bytes of a file, read on access, so that long audio does not fill the memory."""

from __future__ import annotations

from typing import BinaryIO

_BLOCK = 1 << 20


class FileBytes:
    """A file as bytes.

    Args:
        file: opened for reading.
        size: of it.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self.size = file, size

    def at(self, place: int, count: int) -> bytes:
        """Read bytes from a place on, fewer at the end."""
        self._file.seek(place)
        return self._file.read(count)

    def find(self, wanted: bytes, start: int) -> int:
        """Find bytes from a place on; -1 where there are none."""
        kept = b""
        self._file.seek(start)
        while block := self._file.read(_BLOCK):
            kept += block
            if (place := kept.find(wanted)) >= 0:
                return start + place
            start += max(0, len(kept) - len(wanted) + 1)
            kept = kept[max(0, len(kept) - len(wanted) + 1) :]
        return -1
