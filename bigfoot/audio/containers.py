"""Find the streams in a file: files that were put one behind the other, and headers with a wrong length.

libsndfile reads the first stream and is silent about what follows.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bigfoot.audio import flac, mpeg, mpeg_count, ogg
from bigfoot.audio.file_bytes import FileBytes
from bigfoot.audio.lengths import UNKNOWN_BYTES, mend_length
from bigfoot.paths import printable

# Magic bytes that are long enough not to occur by chance.
_MAGICS = {
    flac.MAGIC: (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22"),
    b"RF64": (b"RF64\xff\xff\xff\xffWAVE",),
    b"caff": (b"caff\x00\x01\x00\x00desc",),
    b"riff": (b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00",),
}
_CHUNKED = (b"RIFF", b"FORM", b".snd")
_KNOWN = (ogg.MAGIC, *_CHUNKED, *_MAGICS)


@dataclass(frozen=True)
class Stream:
    """A stretch of a file that is a whole audio file of its own.

    Args:
        begin: its first byte; before the file's own where something is put in front.
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
        data = FileBytes(file, size)
        magic, name = data.at(0, 4), printable(os.fsdecode(path))
        if magic not in _KNOWN and (segments := mpeg.find_segments(data)):
            return tuple(_list_mpeg(data, segments))
        begins = [0, *_find_further(data, magic)]
        ends = zip(begins, [*begins[1:], size], strict=True)
        return tuple(Stream(begin, end, _mend(data, begin, end, name)) for begin, end in ends)


def _list_mpeg(data: FileBytes, segments: list[mpeg.Segment]) -> Iterator[Stream]:
    ends = [*(segment.begin for segment in segments[1:]), data.size]
    for segment, end in zip(segments, ends, strict=True):
        begin, head = mpeg_count.mend_count(data, segment)
        yield Stream(begin, end, head)


def _mend(data: FileBytes, begin: int, end: int, name: str) -> bytes:
    if data.at(begin, 4) == flac.MAGIC:
        return flac.mend_total(data, begin, end)
    return mend_length(data, begin, end, name)


def _find_further(data: FileBytes, magic: bytes) -> Iterator[int]:
    """First bytes of further streams."""
    if magic == ogg.MAGIC:
        yield from ogg.find_chained(data)
    elif magic in _CHUNKED:
        begin = 0
        while (end := _end_of_chunk(data, begin)) > begin and data.at(end, 4) == magic:
            yield (begin := end)
    elif magic in _MAGICS:
        yield from sorted(place for whole in _MAGICS[magic] for place in _find_all(data, whole))


def _find_all(data: FileBytes, magic: bytes) -> Iterator[int]:
    place = 0
    while (place := data.find(magic, place + 1)) > 0:
        yield place


def _end_of_chunk(data: FileBytes, begin: int) -> int:
    """End of a file by its own header; 0 where the header has none."""
    header = data.at(begin, 12)
    if len(header) < 12:
        return 0
    if header[:4] == b".snd":
        offset, length = struct.unpack(">II", header[4:12])
        return begin + offset + length if 0 < length < UNKNOWN_BYTES else 0
    (length,) = struct.unpack("<I" if header[:4] == b"RIFF" else ">I", header[4:8])
    return begin + 8 + length + length % 2 if length else 0
