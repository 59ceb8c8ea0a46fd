"""Numbers of frames in the Xing header of MPEG audio, checked against the frames that are there."""

from __future__ import annotations

import logging
import os
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bigfoot.audio.file_bytes import FileBytes
from bigfoot.audio.mpeg import Segment, find_segments, measure_frame, place_of_tag
from bigfoot.paths import printable

log = logging.getLogger("bigfoot")

_ENCODERS = (b"LAME", b"Lavf", b"Lavc")
"""Those that do not count the frame with the header, and write a checksum; where it is 0 they did not."""
_FULL = 15
_NAME, _DELAY, _CHECKSUM = 120, 141, 154
"""Places behind the name of a header with all fields."""
_CHECKED = 190


@dataclass(frozen=True)
class _Xing:
    """A header, as it stands in the first frame.

    Args:
        place: of it in the frame.
        frame: bytes of the frame.
        flags: which fields there are.
        stated: number of frames.
        size: bytes of all.
    """

    place: int
    frame: bytes
    flags: int
    stated: int
    size: int

    @property
    def counts(self) -> bool:
        """Whether it states both numbers."""
        return self.flags & 3 == 3

    @property
    def known(self) -> bool:
        """Whether an encoder whose headers are known wrote it."""
        return self.frame[self.place + _NAME :].startswith(_ENCODERS)

    def agrees(self, *, frames: int, size: int) -> bool:
        """Return whether its checksum is that of what it states, or of what is there; or it has none."""
        end = self.place + _CHECKSUM
        written = int.from_bytes(self.frame[end : end + 2], "big")
        if not self.known or not written:
            return True
        return self.flags == _FULL and any(
            written in _checksums(self.frame, self.place, end, numbers)
            for numbers in ((self.stated, self.size), (frames, self.size), (self.stated, size), (frames, size))
        )


def mend_count(data: FileBytes, segment: Segment) -> tuple[int, bytes]:
    """Write the number of frames where a decoder finds it.

    Args:
        data: of the file.
        segment: of ``find_segments``.

    Returns:
        The first byte, and what takes the place of those from there on; nothing where all is right. A header that is
        not there is put before the first frame; one that is damaged is replaced by one that leaves no sample out.
    """
    counted, length = segment.num_frames - 1, segment.end - segment.first
    if not segment.tag:
        if len(segment.sizes) < 2:
            return segment.begin, b""
        frame = _make_xing(data.at(segment.first, 4), segment.num_frames, length)
        return segment.first - len(frame), frame
    xing = _read_xing(data, segment)
    if not xing.agrees(frames=counted, size=length):
        return segment.first, _put_xing(xing.frame[:4], len(xing.frame), counted, length)
    if not xing.counts or (counted <= xing.stated + 1 and xing.size >= 0.99 * length):
        return segment.begin, b""
    head = data.at(segment.begin, segment.first + segment.tag - segment.begin + 8)
    return segment.begin, head + struct.pack(">2I", max(counted, xing.stated), max(length, xing.size))


def mpeg_problem(path: Path) -> str | None:
    """Find out whether frames are damaged or missing, which a decoder leaves out in silence.

    Args:
        path: a regular file of MPEG audio.

    Returns:
        A few words; None where all frames are there.
    """
    status = path.stat()
    return _find_problem(os.fsencode(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1 << 14)
def _find_problem(path: bytes, size: int, _mtime_ns: int) -> str | None:
    with open(path, "rb") as file:
        data = FileBytes(file, size)
        segments = find_segments(data)
        if not segments:
            name = printable(os.fsdecode(path))
            log.warning("%s: damage would not be noticed, for frames of a free bit rate are not counted", name)
        problems = (_segment_problem(data, segment) for segment in segments)
        return next((problem for problem in problems if problem), None)


def _segment_problem(data: FileBytes, segment: Segment) -> str | None:
    damaged = f"damaged: the bytes from {segment.damaged} on are no frame of MPEG audio"
    if segment.lost or not segment.tag:
        return damaged if segment.damaged >= 0 else None
    xing, counted = _read_xing(data, segment), segment.num_frames - 1
    if not xing.counts or not xing.agrees(frames=counted, size=segment.end - segment.first):
        return damaged if segment.damaged >= 0 else None
    # Some encoders count the frame of the header too.
    missing = xing.stated - counted - (0 if xing.known or segment.damaged >= 0 else 1)
    if missing > 0 and segment.damaged < 0:
        return f"truncated: it holds {counted} frames of the {xing.stated} that its header promises"
    return damaged if segment.damaged >= 0 and not -1 <= missing <= 0 else None


def _read_xing(data: FileBytes, segment: Segment) -> _Xing:
    frame = data.at(segment.first, measure_frame(data.at(segment.first, 4)))
    flags, stated, size = struct.unpack(">3I", frame[segment.tag + 4 : segment.tag + 16])
    return _Xing(segment.tag, frame, flags, stated, size)


def _make_xing(head: bytes, num_frames: int, length: int) -> bytes:
    """Build a frame of silence whose header says how many follow."""
    for kbits in range(head[2] >> 4, 15):
        first = bytes((0xFF, head[1] | 1, kbits << 4 | head[2] & 0x0D, head[3]))
        size = measure_frame(first)
        if size >= place_of_tag(head) + 16:
            return _put_xing(first, size, num_frames, length + size)
    return b""


def _put_xing(head: bytes, size: int, num_frames: int, length: int) -> bytes:
    # With a bit of side information set it is no header to the decoder; with a checksum its place is another.
    first = bytes((head[0], head[1] | 1, *head[2:4])).ljust(place_of_tag(head), b"\0")
    return (first + b"Xing" + struct.pack(">3I", 3, num_frames, length)).ljust(size, b"\0")


def _checksums(frame: bytes, place: int, end: int, numbers: tuple[int, int]) -> tuple[int, int]:
    """CRC-16 of a header with these numbers, up to the checksum as LAME has it, and over a fixed length as ffmpeg."""
    if not all(0 <= number < 1 << 32 for number in numbers):
        return 0, 0
    content = frame[: place + 8] + struct.pack(">2I", *numbers) + frame[place + 16 : end] + b"\0\0" + frame[end + 2 :]
    return _compute_checksum(content[:end]), _compute_checksum(content[:_CHECKED])


def _compute_checksum(content: bytes) -> int:
    value = 0
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return value
