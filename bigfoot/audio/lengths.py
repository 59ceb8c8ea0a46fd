"""Lengths in headers of chunked audio that are less than the file holds.

They are mended where the header contradicts itself; else what is left out is named.
"""

from __future__ import annotations

import logging
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from bigfoot.audio.file_bytes import FileBytes

log = logging.getLogger("bigfoot")

UNKNOWN_BYTES = 0x7FFF0000
"""Lengths from here on mean that a recorder that writes to a pipe could not go back to fill the length in."""
_LONGEST_TAIL = 1024
_CAF_CODEC = 28
_SPHERE_HEAD = 1024
_SPHERE_COUNT = re.compile(rb"^sample_count -i (\d{1,18})\s*$", re.MULTILINE)


@dataclass(frozen=True)
class _Layout:
    """How a container writes its chunks.

    Args:
        audio: name of the chunk with the samples.
        first: place of the first chunk.
        size: ``struct`` of a chunk's length.
        padded: chunks of an odd length have a byte more.
        outer: whether the container's own length stands at byte 4, as a chunk's does.
    """

    audio: bytes
    first: int
    size: str
    padded: bool = True
    outer: bool = False

    @property
    def head(self) -> int:
        """Bytes before what a chunk holds."""
        return 4 + struct.calcsize(self.size)

    def read(self, data: FileBytes, place: int, end: int) -> tuple[bytes, int]:
        """Read name and length of a chunk; of the audio to the end where its length is not known."""
        head = data.at(place, self.head)
        (length,) = struct.unpack(self.size, head[4:])
        unknown = length < 0 or (length >= UNKNOWN_BYTES and self.outer)
        if unknown and head[:4] == self.audio:
            return head[:4], end - place - self.head
        return head[:4], length if length >= 0 else end

    def follow(self, place: int, length: int) -> int:
        """Return the place of the chunk behind one."""
        return place + self.head + length + (length % 2 if self.padded else 0)


_LAYOUTS = {
    b"RIFF": _Layout(b"data", 12, "<I", outer=True),
    b"RF64": _Layout(b"data", 12, "<I"),
    b"FORM": _Layout(b"SSND", 12, ">I", outer=True),
    b"caff": _Layout(b"data", 8, ">q", padded=False),
}


def mend_length(data: FileBytes, begin: int, end: int, name: str) -> bytes:
    """Mend the length of the audio in a header, or report what is left out.

    Args:
        data: of the file.
        begin: first byte of the stream.
        end: one beyond its last.
        name: of the file, for the log.

    Returns:
        What takes the place of its first bytes; nothing where they stay.
    """
    magic = data.at(begin, 4)
    if magic == b".snd":
        _report_tail(name, end - _end_of_au(data, begin, end))
        return b""
    layout = _LAYOUTS.get(magic)
    found = None if layout is None else _find_audio(data, begin, end, layout)
    if layout is None or found is None:
        return b""
    place, length = found
    follows = layout.follow(place, length)
    if follows >= end or _are_chunks(data, follows, end, layout):
        return b""
    (whole,) = struct.unpack(layout.size, data.at(begin + 4, layout.head - 4))
    # A header that agrees with itself: what follows may be anything.
    if not layout.outer or (length > 0 and begin + 8 + whole < end):
        _report_tail(name, end - follows)
        return b""
    outer = struct.pack(layout.size, min(end - begin - 8, 2**32 - 1))
    inner = struct.pack(layout.size, end - place - layout.head)
    return magic + outer + data.at(begin + 8, place - begin - 4) + inner


def sphere_problem(path: Path, num_frames: int) -> str | None:
    """Find out whether a NIST SPHERE file is cut: libsndfile counts its bytes, and not what its header promises.

    Args:
        path: the file.
        num_frames: samples of one channel in it.
    """
    with path.open("rb") as file:
        promised = _SPHERE_COUNT.search(file.read(_SPHERE_HEAD))
    if promised is None or int(promised[1]) <= num_frames:
        return None
    return f"truncated: it holds {num_frames} samples of the {int(promised[1])} that its header promises"


def alac_problem(path: Path, num_frames: int) -> str | None:
    """Find out whether packets of ALAC in a CAF file are missing: libsndfile counts those that it finds.

    Args:
        path: the file.
        num_frames: samples of one channel in it.
    """
    layout, size = _LAYOUTS[b"caff"], path.stat().st_size
    with path.open("rb") as file:
        data = FileBytes(file, size)
        if data.at(_CAF_CODEC, 4) != b"alac":
            return None
        place, stated = layout.first, -1
        while place + layout.head <= size:
            name, length = layout.read(data, place, size)
            if name == b"pakt":
                stated = int.from_bytes(data.at(place + layout.head + 8, 8), "big")
            place = layout.follow(place, length)
    if place <= size and 0 <= stated <= num_frames:
        return None
    found = f"{num_frames} samples of the {stated}" if stated >= 0 else "no whole table of the packets"
    return f"damaged: it holds {found} that its header promises"


def _report_tail(name: str, count: int) -> None:
    if count >= _LONGEST_TAIL:
        log.warning("%s: the %d bytes behind its audio are left out", name, count)


def _end_of_au(data: FileBytes, begin: int, end: int) -> int:
    head = data.at(begin, 12)
    if len(head) < 12:
        return end
    offset, length = struct.unpack(">II", head[4:])
    return begin + offset + length if 0 < length < UNKNOWN_BYTES else end


def _find_audio(data: FileBytes, begin: int, end: int, layout: _Layout) -> tuple[int, int] | None:
    """Place of the chunk with the samples, and its length; None where there is none."""
    place, long = begin + layout.first, 0
    while place + layout.head <= end:
        name, length = layout.read(data, place, end)
        if name == b"ds64":
            (long,) = struct.unpack("<Q", data.at(place + 16, 8).ljust(8, b"\0"))
        if name == layout.audio:
            return place, long or length
        place = layout.follow(place, length)
    return None


def _are_chunks(data: FileBytes, place: int, end: int, layout: _Layout) -> bool:
    """Return whether chunks follow up to the end, or all but a last odd byte."""
    while place + layout.head <= end:
        name, length = layout.read(data, place, end)
        if not all(32 <= byte < 127 for byte in name):
            return False
        place = layout.follow(place, length)
    return place <= end + 1
