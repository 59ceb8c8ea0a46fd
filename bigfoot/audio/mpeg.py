"""Frames of MPEG audio (ISO 11172-3, 13818-3), counted: a header's number of frames may be wrong or not there.

libsndfile estimates the length of a file without a Xing header from its first frame, and reads no further.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from bigfoot.audio.file_bytes import FileBytes

_KBITS = {
    (3, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates by version (3 is 1, else 2 or 2.5) and layer (3 is I, 1 is III); layer III of version 2 is as its II."""
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_SEARCHED = 1 << 16
_TAGS = (b"Xing", b"Info")
_LONGEST_HEAD = 64


@dataclass
class Segment:
    """Frames that are a file of their own.

    Args:
        begin: first byte, of its ID3 tag where it has one.
        first: place of its first frame.
        end: one beyond its last frame.
        num_frames: the one with the Xing header too.
        sizes: bytes of frames, without their padding.
        tag: place of the Xing header within the first frame; 0 where there is none.
    """

    begin: int
    first: int
    end: int = 0
    num_frames: int = 0
    sizes: set[int] = field(default_factory=set)
    tag: int = 0


def find_segments(data: FileBytes) -> list[Segment]:
    """Find the files of MPEG audio in a file, one behind the other.

    Args:
        data: of the file.

    Returns:
        In order; none where the file does not start with two frames, behind ID3 tags.
    """
    found: list[Segment] = []
    first = _skip_id3(data, 0)
    if not (size := _measure_frame(data.at(first, 4))) or not _measure_frame(data.at(first + size, 4)):
        return found
    current: Segment | None = None
    for start, place, head, size in _walk(data, first):
        tag = _find_tag(head)
        named = start < place and data.at(start, 3) == b"ID3"
        if current is None or tag or named:
            current = Segment(0 if current is None else start if named else place, place, tag=tag)
            found.append(current)
        current.num_frames += 1
        current.sizes.add(size - (head[2] >> 1 & 1))
        current.end = place + size
    return found


def mend_count(data: FileBytes, segment: Segment) -> tuple[int, bytes]:
    """Write the number of frames where a decoder finds it.

    Args:
        data: of the file.
        segment: of ``find_segments``.

    Returns:
        The first byte, and what takes the place of those from there on; nothing where all is right. A header that is
        not there is put before the first frame.
    """
    counted, length = segment.num_frames - 1, segment.end - segment.first
    if not segment.tag:
        if len(segment.sizes) < 2:
            return segment.begin, b""
        frame = _make_xing(data.at(segment.first, 4), segment.num_frames, length)
        return segment.first - len(frame), frame
    place = segment.first + segment.tag
    flags, stated, size = struct.unpack(">3I", data.at(place + 4, 12))
    if flags & 3 != 3 or (counted <= stated + 1 and size >= 0.99 * length):
        return segment.begin, b""
    head = data.at(segment.begin, place - segment.begin + 8)
    return segment.begin, head + struct.pack(">2I", max(counted, stated), max(length, size))


def _walk(data: FileBytes, place: int) -> Iterator[tuple[int, int, bytes, int]]:
    """Yield the end of the frame before, place, first bytes and size of every frame."""
    end = place
    while True:
        head = data.at(place, _LONGEST_HEAD)
        size = _measure_frame(head)
        if size:
            if place + size > data.size:
                return
            yield end, place, head, size
            end = place = place + size
            continue
        place = _find_next(data, place)
        if place < 0:
            return


def _find_next(data: FileBytes, place: int) -> int:
    """Find the frame behind a tag or damage; -1 where there is none near."""
    if (behind := _skip_id3(data, place)) > place:
        return behind
    near = data.at(place, _SEARCHED)
    at = near.find(b"\xff", 1)
    while at >= 0:
        size = _measure_frame(near[at : at + 4])
        if size and _measure_frame(data.at(place + at + size, 4)):
            return place + at
        at = near.find(b"\xff", at + 1)
    return -1


def _skip_id3(data: FileBytes, place: int) -> int:
    while (tag := data.at(place, 10))[:3] == b"ID3" and len(tag) == 10:
        place += 10 + (tag[6] << 21 | tag[7] << 14 | tag[8] << 7 | tag[9])
    return place


def _measure_frame(head: bytes) -> int:
    """Bytes of a frame; 0 where there is none, or one of a free bit rate."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    rate, kbits = head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or layer == 0 or rate == 3 or kbits in (0, 15):
        return 0
    known = 3 if version == 3 else 2
    bits = 1000 * _KBITS[known, 2 if known == 2 and layer == 1 else layer][kbits - 1]
    padding, hertz = head[2] >> 1 & 1, _RATES[version][rate]
    if layer == 3:
        return (12 * bits // hertz + padding) * 4
    return (72 if layer == 1 and known == 2 else 144) * bits // hertz + padding


def _find_tag(head: bytes) -> int:
    """Place of the Xing header in a frame, behind the side information of layer III; 0 where there is none."""
    place = _place_of_tag(head)
    return place if head[place : place + 4] in _TAGS and len(head) >= place + 16 else 0


def _place_of_tag(head: bytes) -> int:
    one, mono = head[1] >> 3 & 3 == 3, head[3] >> 6 == 3
    return 4 + ((17 if mono else 32) if one else (9 if mono else 17))


def _make_xing(head: bytes, num_frames: int, length: int) -> bytes:
    """Build a frame of silence whose header says how many follow."""
    for kbits in range(head[2] >> 4, 15):
        first = bytes((0xFF, head[1] | 1, kbits << 4 | head[2] & 0x0D, head[3]))
        size, place = _measure_frame(first), _place_of_tag(head)
        if size >= place + 16:
            tag = b"Xing" + struct.pack(">3I", 3, num_frames, length + size)
            return (first + bytes(place - 4) + tag).ljust(size, b"\0")
    return b""
