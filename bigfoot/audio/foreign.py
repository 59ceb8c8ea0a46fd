"""Kinds of files that carry the suffix of audio and are of another kind, by their first bytes."""

from __future__ import annotations

from pathlib import Path

_KINDS = (
    (0, b"\x1a\x45\xdf\xa3", "WebM or Matroska"),
    (4, b"ftyp", "MP4 or M4A"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA or ASF"),
    (0, b"#!AMR", "AMR"),
    (0, b"FLV\x01", "FLV"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"wvpk", "WavPack"),
    (0, b"ADIF", "AAC"),
    (8, b"AVI ", "AVI"),
)
_NO_AUDIO = (
    (b"\x1f\x8b", "gzip: unpack it"),
    (b"PK\x03\x04", "ZIP: unpack it"),
    (b"version https://git-lfs", "a pointer of Git LFS: run git lfs pull"),
    (b"<!DOCTYPE", "HTML: download the file again"),
    (b"<html", "HTML: download the file again"),
)
_LONGEST = 64
_CURE = "soundfile cannot read it; convert it, such as with ffmpeg -i FILE FILE.flac"


def foreign_problem(path: Path) -> str | None:
    """Name the kind of a file that soundfile does not read.

    Args:
        path: a regular file.

    Returns:
        A few words; None where its first bytes say nothing.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mktemp(suffix=".wav"))
        >>> _ = path.write_bytes(b"#!AMR-WB" + bytes(99))
        >>> foreign_problem(path).split(";")[0]
        'its first bytes are of AMR: soundfile cannot read it'
    """
    with path.open("rb") as file:
        head = file.read(_LONGEST)
    for magic, named in _NO_AUDIO:
        if head.startswith(magic):
            return f"its first bytes are of {named}"
    name = next((name for place, magic, name in _KINDS if head[place:].startswith(magic)), None)
    # Frames of AAC: a syncword of 12 bits, with layer 0 where MPEG audio has 1 to 3.
    if name is None and len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        name = "AAC"
    return None if name is None else f"its first bytes are of {name}: {_CURE}"
