"""Tags around MPEG audio: ID3, APE, Lyrics3."""

from __future__ import annotations

import re
import struct

from bigfoot.audio.file_bytes import FileBytes

_NEAR = 1 << 16
_APE = b"APETAGEX"
_FIXED = ((b"TAG+", 227), (b"TAG", 128))
_LYRICS = re.compile(rb"LYRICSEND|\d{6}LYRICS200")


def skip_tags(data: FileBytes, place: int) -> int:
    """Find the end of the tags at a place; the place itself where there are none.

    Args:
        data: of the file.
        place: in it.
    """
    while (behind := skip_tag(data, place)) > place:
        place = behind
    return place


def skip_tag(data: FileBytes, place: int) -> int:
    """Find the end of one tag; see ``skip_tags``.

    Args:
        data: of the file.
        place: in it.
    """
    head = data.at(place, 32)
    behind = place
    if head[:3] == b"ID3" and len(head) >= 10:
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        behind += 10 + size + (10 if head[5] & 0x10 else 0)
    elif head[:8] == _APE and len(head) == 32:
        size, _, flags = struct.unpack("<3I", head[12:24])
        behind += 32 + (size if flags & 1 << 29 else 0)
    elif head[:11] == b"LYRICSBEGIN":
        found = _LYRICS.search(data.at(place, _NEAR))
        behind += found.end() if found else 0
    else:
        behind += next((size for name, size in _FIXED if head.startswith(name)), 0)
        behind = behind if behind > place else _skip_footed(data, place)
    return min(behind, data.size)


def _skip_footed(data: FileBytes, place: int) -> int:
    """Skip an APE tag of version 1, which has its name and size at the end."""
    near = data.at(place, _NEAR) if place > data.size - _NEAR else b""
    at = near.find(_APE)
    if at < 0 or len(near) < at + 32:
        return place
    (size,) = struct.unpack("<I", near[at + 12 : at + 16])
    return place + at + 32 if size == at + 32 else place


def skip_zeros(data: FileBytes, place: int) -> int:
    """Find the end of zeros at a place, and of tags behind them.

    Args:
        data: of the file.
        place: in it.
    """
    while block := data.at(place, _NEAR):
        count = len(block) - len(block.lstrip(b"\0"))
        place += count
        if count < len(block):
            behind = skip_tags(data, place)
            if behind == place:
                return place
            place = behind
    return place
