"""Find the streams in a file: files that were put one behind the other, and headers with a wrong length.

libsndfile reads the first stream and is silent about what follows.
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from bigfoot.paths import printable

log = logging.getLogger("bigfoot")

UNKNOWN_BYTES = 0x7FFF0000
"""Lengths from here on mean that a recorder that writes to a pipe could not go back to fill the length in."""

# Magic bytes that are long enough not to occur by chance.
_MAGICS = {
    b"fLaC": (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22"),
    b"RF64": (b"RF64\xff\xff\xff\xffWAVE",),
    b"caff": (b"caff\x00\x01\x00\x00desc",),
    b"riff": (b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00",),
}
_SEARCHED = 8192
_LONGEST_TAIL = 1024
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Stream:
    """A stretch of a file that is a whole audio file of its own.

    Args:
        begin: its first byte.
        end: one beyond its last.
        head: what takes the place of its first bytes; empty where they are right.
    """

    begin: int
    end: int
    head: bytes = b""


def find_streams(path: Path) -> tuple[Stream, ...]:
    """Find the streams of an audio file.

    Args:
        path: a regular file.

    Returns:
        One or more, in order; a file of an unknown kind is one.
    """
    status = path.stat()
    return _find(os.fsencode(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1 << 14)
def _find(path: bytes, size: int, _mtime_ns: int) -> tuple[Stream, ...]:
    with open(path, "rb") as file:
        data = _Bytes(file, size)
        begins = [0, *_find_further(data, data.at(0, 4))]
        streams = [Stream(*ends) for ends in zip(begins, [*begins[1:], size], strict=True)]
        return tuple(_mend_wave(data, stream, printable(os.fsdecode(path))) for stream in streams)


class _Bytes:
    """Bytes of a file, read on access, so that long audio does not fill the memory."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self.size = file, size

    def at(self, place: int, count: int) -> bytes:
        self._file.seek(place)
        return self._file.read(count)

    def find(self, wanted: bytes, start: int) -> int:
        kept = b""
        self._file.seek(start)
        while block := self._file.read(_BLOCK):
            kept += block
            if (place := kept.find(wanted)) >= 0:
                return start + place
            start += max(0, len(kept) - len(wanted) + 1)
            kept = kept[max(0, len(kept) - len(wanted) + 1) :]
        return -1


def _find_further(data: _Bytes, magic: bytes) -> Iterator[int]:
    """First bytes of further streams."""
    if magic == b"OggS":
        yield from _find_chained(data)
    elif magic in (b"RIFF", b"FORM", b".snd"):
        begin = 0
        while (end := _end_of_chunk(data, begin)) > begin and data.at(end, 4) == magic:
            yield (begin := end)
    elif magic in _MAGICS:
        yield from sorted(place for whole in _MAGICS[magic] for place in _find_all(data, whole))
    else:
        begin = 0
        while begin := _end_of_mp3(data, begin):
            yield begin


def _find_all(data: _Bytes, magic: bytes) -> Iterator[int]:
    place = 0
    while (place := data.find(magic, place + 1)) > 0:
        yield place


def _end_of_chunk(data: _Bytes, begin: int) -> int:
    """End of a file by its own header; 0 where the header has none."""
    header = data.at(begin, 12)
    if len(header) < 12:
        return 0
    if header[:4] == b".snd":
        offset, length = struct.unpack(">II", header[4:12])
        return begin + offset + length if 0 < length < UNKNOWN_BYTES else 0
    (length,) = struct.unpack("<I" if header[:4] == b"RIFF" else ">I", header[4:8])
    return begin + 8 + length + length % 2 if length else 0


def _find_chained(data: _Bytes) -> Iterator[int]:
    """Ogg (RFC 3533, section 4): a chained stream starts with pages flagged so, behind pages that are not."""
    place, heads = 0, True
    while 0 <= place < data.size:
        page = data.at(place, 27)
        if len(page) < 27 or page[:4] != b"OggS":
            place = data.find(b"OggS", place + 1)
            continue
        begins = bool(page[5] & 2)
        if begins and not heads:
            yield place
        heads = begins
        sizes = data.at(place + 27, page[26])
        place += 27 + len(sizes) + sum(sizes)


def _end_of_mp3(data: _Bytes, begin: int) -> int:
    """Return where further MPEG audio follows the length in the Xing header before it; 0 where nothing does."""
    tag = data.at(begin, 10)
    if tag[:3] == b"ID3" and len(tag) == 10:
        sizes = tag[6:]
        begin += 10 + (sizes[0] << 21 | sizes[1] << 14 | sizes[2] << 7 | sizes[3])
    head = data.at(begin, 64)
    if len(head) < 64 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    place = next((at for at in (head.find(b"Xing"), head.find(b"Info")) if at > 0), 0)
    flags = head[place + 7] if place and place + 16 <= len(head) else 0
    if flags & 3 != 3:
        return 0
    end = begin + int.from_bytes(head[place + 12 : place + 16], "big")
    rest = data.at(end, _SEARCHED)
    if rest[:3] == b"ID3":
        return end
    # Version, layer and rate stay within a stream; the bit rate need not.
    marks = [at for at in range(len(rest) - 3) if rest[at] == 0xFF and rest[at + 1] == head[1]]
    marks = [at for at in marks if rest[at + 2] & 0x0C == head[2] & 0x0C]
    return end + marks[0] if marks and data.size - end > 1024 else 0


def _mend_wave(data: _Bytes, stream: Stream, name_of_file: str) -> Stream:
    """A WAV whose data chunk has length 0, or less than its file holds, while no other chunk follows."""
    begin, end = stream.begin, stream.end
    start = data.at(begin, 12)
    if start[:4] != b"RIFF" or start[8:] != b"WAVE":
        return stream
    place = begin + 12
    while place + 8 <= end:
        name, length = struct.unpack("<4sI", data.at(place, 8))
        if name == b"data":
            break
        place += 8 + length + length % 2
    else:
        return stream
    (riff,) = struct.unpack("<I", start[4:8])
    follows = place + 8 + length + length % 2
    unstated = length == 0 or begin + 8 + riff >= end
    if length >= UNKNOWN_BYTES or follows >= end or _is_chunk(data, follows, end):
        return stream
    if not unstated:
        # A header that agrees with itself: what follows may be anything.
        if end - follows >= _LONGEST_TAIL:
            log.warning("%s: the %d bytes behind its audio are left out", name_of_file, end - follows)
        return stream
    held = end - place - 8
    head = data.at(begin, place - begin) + struct.pack("<4sI", b"data", held)
    return Stream(begin, end, head[:4] + struct.pack("<I", min(end - begin - 8, 2**32 - 1)) + head[8:])


def _is_chunk(data: _Bytes, place: int, end: int) -> bool:
    """Return whether chunks follow up to the end, or all but a last odd byte."""
    while place + 8 <= end:
        name, length = struct.unpack("<4sI", data.at(place, 8))
        if not all(32 <= byte < 127 for byte in name):
            return False
        place += 8 + length + length % 2
    return place <= end + 1
