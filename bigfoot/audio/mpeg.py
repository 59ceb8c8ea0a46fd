"""Frames of MPEG audio (ISO 11172-3, 13818-3), counted: a header's number of frames may be wrong or not there.

libsndfile estimates the length of a file without a Xing header from its first frame, and reads no further. Its decoder
skips what is no frame, in silence: here what lies between frames is checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bigfoot.audio.file_bytes import FileBytes
from bigfoot.audio.mpeg_tags import skip_tag, skip_tags, skip_zeros

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
_SURE = 4
"""Frames in a row that do not occur by chance."""


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
        damaged: place of the first bytes that are neither frame nor tag; -1 where there are none.
        lost: whether one of its frames covers others, as one does whose header is damaged.
    """

    begin: int
    first: int
    end: int = 0
    num_frames: int = 0
    sizes: set[int] = field(default_factory=set)
    tag: int = 0
    damaged: int = -1
    lost: bool = False

    def add(self, place: int, head: bytes, size: int) -> None:
        """Count a frame."""
        self.num_frames += 1
        self.sizes.add(size - (head[2] >> 1 & 1))
        self.end = place + size

    def damage(self, place: int, *, lost: bool = False) -> None:
        """Note damage; the first place of it stays."""
        self.damaged = place if self.damaged < 0 else self.damaged
        self.lost |= lost


@dataclass(frozen=True)
class _Frame:
    place: int
    head: bytes
    size: int
    end: int
    """Of the frame before it."""


def find_segments(data: FileBytes) -> list[Segment]:
    """Find the files of MPEG audio in a file, one behind the other.

    Args:
        data: of the file.

    Returns:
        In order; none where the file does not start with frames, behind tags.
    """
    found: list[Segment] = []
    start = skip_tags(data, 0)
    first = _find_first(data, start)
    if first < 0:
        return found
    before: _Frame | None = None
    for frame in _walk(data, first):
        tag = _find_tag(frame.head)
        named = frame.end < frame.place and data.at(frame.end, 3) == b"ID3"
        if before is None or tag or named or _kind(before.head) != _kind(frame.head):
            begin = 0 if before is None else frame.end if named else frame.place
            found.append(Segment(begin, frame.place, tag=tag))
            if start < first and before is None:
                found[0].damage(start)
        if before is not None:
            _check_between(data, frame, found)
        current = found[-1]
        if not current.tag and _covers_frames(data, frame, current.sizes):
            current.damage(frame.place, lost=True)
        current.add(frame.place, frame.head, frame.size)
        before = frame
    _check_tail(data, found[-1])
    return found


def _find_first(data: FileBytes, place: int) -> int:
    """Find the first frame; -1 where the file is something else."""
    # What is searched may be a file of another kind.
    return place if _follows(data, place, 2) else _search(data, place + 1, _SURE)


def _walk(data: FileBytes, place: int) -> Iterator[_Frame]:
    """Yield every whole frame."""
    end, kind = place, _kind(data.at(place, 4))
    while place >= 0:
        head = data.at(place, _LONGEST_HEAD)
        size = measure_frame(head)
        if not size or (_kind(head) != kind and not _follows(data, place, 2)):
            place = _search(data, place + 1, 2)
            continue
        if place + size > data.size:
            return
        yield _Frame(place, head, size, end)
        kind, end = _kind(head), place + size
        behind = end if measure_frame(data.at(end, 4)) else skip_tags(data, end)
        # A byte too few in a frame: the next one begins before its end.
        place = behind if measure_frame(data.at(behind, 4)) else _search(data, place + 4, 2)


def _search(data: FileBytes, place: int, count: int) -> int:
    """Find frames in a row from a place on; -1 where there are none near."""
    near = data.at(place, _SEARCHED)
    at = near.find(b"\xff")
    while at >= 0:
        if measure_frame(near[at : at + 4]) and _follows(data, place + at, count):
            return place + at
        at = near.find(b"\xff", at + 1)
    return -1


def _follows(data: FileBytes, place: int, count: int) -> bool:
    """Return whether so many frames of one kind, or fewer up to the end or a tag, stand one behind the other."""
    kind = _kind(data.at(place, 4))
    for number in range(count):
        head = data.at(place, 4)
        if number and (place == data.size or skip_tag(data, place) > place):
            return True
        size = measure_frame(head)
        if not size or _kind(head) != kind or (number == 0 and place + size > data.size):
            return False
        place += size
    return True


def _check_between(data: FileBytes, frame: _Frame, found: list[Segment]) -> None:
    """Check what lies between a frame and the one before it."""
    if frame.place == frame.end:
        return
    current = found[-1]
    before = found[-2] if current.num_frames == 0 else current
    behind = skip_tags(data, frame.end)
    if current is not before:
        behind = skip_zeros(data, behind)
    if behind < frame.place:
        before.damage(behind)
    elif frame.place < frame.end:
        before.damage(frame.place, lost=True)


def _check_tail(data: FileBytes, segment: Segment) -> None:
    if skip_zeros(data, behind := skip_tags(data, segment.end)) < data.size:
        segment.damage(behind)


def _covers_frames(data: FileBytes, frame: _Frame, sizes: set[int]) -> bool:
    """Return whether frames of another size fill this one: a flipped bit of its bit rate does so."""
    smaller = [size for size in sizes if size + 4 < frame.size]
    content = data.at(frame.place, frame.size) if smaller else b""
    for place in (size + padding for size in smaller for padding in (0, 1)):
        while 0 < place < frame.size and _kind(content[place : place + 4]) == _kind(frame.head):
            place = place + size if (size := measure_frame(content[place : place + 4])) else -1
        if place == frame.size:
            return True
    return False


def _kind(head: bytes) -> tuple[int, ...]:
    """Version, layer, sample rate, and whether there is one channel: the same throughout a file."""
    return (head[1] & 0x1E, head[2] & 0x0C, head[3] >> 6 == 3) if len(head) >= 4 else ()


def measure_frame(head: bytes) -> int:
    """Return the bytes of a frame; 0 where there is none, or one of a free bit rate.

    Args:
        head: its first four bytes, or more.
    """
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


def place_of_tag(head: bytes) -> int:
    """Return the place of a Xing header, behind the side information of layer III.

    Args:
        head: of the frame.
    """
    one, mono = head[1] >> 3 & 3 == 3, head[3] >> 6 == 3
    return 4 + ((17 if mono else 32) if one else (9 if mono else 17))


def _find_tag(head: bytes) -> int:
    """Place of the Xing header in a frame; 0 where there is none."""
    place = place_of_tag(head)
    return place if head[place : place + 4] in _TAGS and len(head) >= place + 16 else 0
