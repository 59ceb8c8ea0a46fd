"""The last frame of FLAC (RFC 9639), which says how long the audio is whatever the header says."""

from __future__ import annotations

from collections.abc import Iterator

from bigfoot.audio.file_bytes import FileBytes

MAGIC = b"fLaC"
HEAD = 26
"""Bytes up to the end of the total number of samples, in the block STREAMINFO."""
_TOTAL = (1 << 36) - 1
_LONGEST_FRAME = 1 << 17
_BLOCK_SIZES = {1: 192} | {2 + code: 576 << code for code in range(4)} | {8 + code: 256 << code for code in range(8)}


def mend_total(data: FileBytes, begin: int, end: int) -> bytes:
    """Write the number of samples into a header that says fewer than there are.

    Args:
        data: of the file.
        begin: first byte of the stream.
        end: one beyond its last.

    Returns:
        What takes the place of its first bytes; nothing where they are right, say nothing, or no frame ends at the end.
    """
    head = data.at(begin, HEAD)
    if len(head) < HEAD or head[4] & 0x7F:
        return b""
    stated = int.from_bytes(head[18:HEAD], "big") & _TOTAL
    if stated == 0:
        return b""
    block = int.from_bytes(head[8:10], "big")
    start = max(begin + HEAD, end - (int.from_bytes(head[15:18], "big") or _LONGEST_FRAME))
    tail = data.at(start, end - start)
    for place, last in _list_ends(tail, block):
        if last == stated:
            return b""
        if last > stated and _check(tail[place:], 16, 0x8005) == 0:
            total = int.from_bytes(head[18:HEAD], "big") & ~_TOTAL | last
            return head[:18] + total.to_bytes(8, "big")
    return b""


def _list_ends(tail: bytes, block: int) -> Iterator[tuple[int, int]]:
    """Yield the places of headers of frames, the last first, and one beyond their last samples."""
    place = len(tail)
    while (place := tail.rfind(b"\xff", 0, place)) >= 0:
        head = tail[place : place + 16]
        if len(head) == 16 and head[1] & 0xFE == 0xF8 and (end := _read_end(head, block)) is not None:
            yield place, end


def _read_end(head: bytes, block: int) -> int | None:
    """One beyond the last sample of a frame; None where this is no header (section 9.1)."""
    code, rate, ones = head[2] >> 4, head[2] & 15, 8 - (head[4] ^ 0xFF).bit_length()
    if ones in (1, 8):
        return None
    length, number = max(1, ones), head[4] & (0x7F >> ones)
    for byte in head[5 : 4 + length]:
        number = number << 6 | byte & 0x3F
    place = 4 + length
    size = _BLOCK_SIZES.get(code, 0)
    if code in (6, 7):
        size = int.from_bytes(head[place : place + code - 5], "big") + 1
        place += code - 5
    place += {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if size == 0 or place >= len(head) or _check(head[: place + 1], 8, 0x07):
        return None
    return (number if head[1] & 1 else number * block) + size


def _check(content: bytes, bits: int, polynomial: int) -> int:
    """CRC of FLAC: 0 over what ends with its own."""
    value, top, mask = 0, 1 << bits - 1, (1 << bits) - 1
    for byte in content:
        value ^= byte << bits - 8
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
    return value
