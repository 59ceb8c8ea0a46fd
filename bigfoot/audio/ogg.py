"""Pages of Ogg (RFC 3533, section 6): where chained streams start, and which pages are damaged or missing.

libsndfile drops a page whose checksum differs and takes the file for one that ends there.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bigfoot.audio.file_bytes import FileBytes

MAGIC = b"OggS"
_HEAD = struct.Struct("<4sBBqIII")  # with version, kind, granule, serial, number and checksum
_FIXED = 27
_NO_GRANULE = -1
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class _Page:
    place: int
    starts: bool
    granule: int
    serial: int
    number: int
    checksum: int
    size: int


def find_chained(data: FileBytes) -> Iterator[int]:
    """Find the first bytes of chained streams: pages flagged so, behind pages that are not (section 4).

    Args:
        data: of the file.
    """
    heads = True
    for page in _list_pages(data):
        if page.starts and not heads:
            yield page.place
        heads = page.starts


def ogg_problem(path: Path) -> str | None:
    """Explain what is wrong with the pages of a file; None where all are there and whole.

    Args:
        path: a regular file of Ogg; what is behind its pages does not count.
    """
    status = path.stat()
    return _find_problem(os.fsencode(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1 << 14)
def _find_problem(path: bytes, size: int, _mtime_ns: int) -> str | None:
    before: dict[int, _Page] = {}
    with open(path, "rb") as file:
        data = FileBytes(file, size)
        for page in _list_pages(data):
            if page.place + page.size > size:
                return "truncated: its last page of Ogg is not whole"
            if _compute_checksum(data.at(page.place, page.size)) != page.checksum:
                return f"damaged: the page of Ogg at byte {page.place} has another checksum"
            last = None if page.starts else before.get(page.serial)
            if last is not None and page.number != last.number + 1:
                return f"damaged: pages of Ogg are missing before byte {page.place}"
            if last is not None and _NO_GRANULE != page.granule < last.granule:
                return f"damaged: the page of Ogg at byte {page.place} is of an earlier time than the one before it"
            before[page.serial] = page
    return None


def _list_pages(data: FileBytes) -> Iterator[_Page]:
    """List pages in order; the last one may not be whole."""
    place = 0
    while 0 <= place < data.size:
        head = data.at(place, _FIXED)
        if head[:4] != MAGIC:
            place = data.find(MAGIC, place + 1)
            continue
        sizes = data.at(place + _FIXED, head[_FIXED - 1]) if len(head) == _FIXED else b""
        if len(head) < _FIXED or len(sizes) < head[_FIXED - 1]:
            yield _Page(place, False, _NO_GRANULE, 0, 0, 0, data.size - place + 1)
            return
        _, _, kind, granule, serial, number, checksum = _HEAD.unpack(head[: _HEAD.size])
        page = _Page(place, bool(kind & 2), granule, serial, number, checksum, _FIXED + len(sizes) + sum(sizes))
        yield page
        place += page.size


def _compute_checksum(page: bytes) -> int:
    """CRC of RFC 3533 by zlib's, which is the same but for the order of bits and an inversion at both ends."""
    content = page[:22] + bytes(4) + page[26:]
    reverse = zlib.crc32(content.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reverse:032b}"[::-1], 2)
