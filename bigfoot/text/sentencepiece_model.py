"""sentencepiece's own file as a vocabulary of characters, both ways and without its package.

The file is a protocol buffer, ``ModelProto`` of ``sentencepiece_model.proto``. Of its fields the pieces are read (1:
piece, score, type); written are also what its trainer and normalizer would have set for characters (2 and 3).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bigfoot.errors import ModelError
from bigfoot.text.json_fields import quote

SPACE = "\u2581"
"""What a space is in a piece."""
NORMAL, UNKNOWN, CONTROL = 1, 2, 3
"""Types of pieces; of the others (4: user-defined, 5: unused, 6: byte) a vocabulary of characters has none but 4."""

_MAX_BYTES = 16 * 2**20
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_CHARACTERS = 4
"""``model_type`` of the trainer."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Piece:
    """One entry of the file.

    Args:
        text: the piece.
        kind: its type.
    """

    text: str
    kind: int = NORMAL


def read_pieces(file: Path) -> list[Piece]:
    """Read the pieces of a model of sentencepiece's, by their ids.

    Args:
        file: the model.

    Raises:
        ModelError: it cannot be read, is larger than such files are, or no such model.
    """
    try:
        if not file.is_file():
            raise ValueError("there is no such file")
        with file.open("rb") as opened:
            raw = opened.read(_MAX_BYTES + 1)
        if len(raw) > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES} bytes")
        pieces = [_piece(value) for number, value in _fields(raw) if number == _PIECES]
        if not pieces:
            raise ValueError("no pieces in it")
        return pieces
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read as a model of sentencepiece's: {error}") from error


def _piece(raw: int | bytes) -> Piece:
    if isinstance(raw, int):
        raise ValueError("a piece of it is a number")
    text, kind = b"", NORMAL
    for number, value in _fields(raw):
        if number == 1 and isinstance(value, bytes):
            text = value
        elif number == 3 and isinstance(value, int):
            kind = value
    return Piece(text.decode("utf-8"), kind)


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Each field's number and value; every step goes forward, so that no file takes longer than it is long."""
    place = 0
    while place < len(raw):
        key, place = _varint(raw, place)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, place = _varint(raw, place)
            yield number, value
            continue
        length = {_FIXED64: 8, _FIXED32: 4}.get(wire)
        if wire == _BYTES:
            length, place = _varint(raw, place)
        if length is None or length > len(raw) - place:
            raise ValueError("it ends in the middle of a field, or is no protocol buffer")
        yield number, raw[place : place + length]
        place += length


def _varint(raw: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(raw):
            raise ValueError("it ends in the middle of a number")
        byte = raw[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number of it has more than 64 bits")


def write_pieces(pieces: Sequence[Piece]) -> bytes:
    """Write a model of characters that sentencepiece loads.

    Args:
        pieces: by id; one of them unknown.

    Raises:
        ModelError: not one unknown piece, or a piece that stands twice or is empty.
    """
    unknown = [index for index, piece in enumerate(pieces) if piece.kind == UNKNOWN]
    texts = [piece.text for piece in pieces]
    if len(unknown) != 1 or len(set(texts)) != len(texts) or "" in texts:
        raise ModelError(f"sentencepiece needs every piece once and one unknown; these have {quote(unknown)}")
    written = b"".join(_bytes(_PIECES, _write_piece(piece, -float(index))) for index, piece in enumerate(pieces))
    # -1 is the id of a special piece that the vocabulary lacks.
    names = ((45, "<unk>"), (46, "<s>"), (47, "</s>"), (48, "<pad>"))
    found = {name: next((i for i, text in enumerate(texts) if text == name), -1) for _, name in names}
    ids = [unknown[0], *(found[name] for _, name in names[1:])]
    trainer = _number(3, _CHARACTERS) + _number(4, len(pieces))
    trainer += b"".join(_number(number, index) for number, index in zip((40, 41, 42, 43), ids, strict=True))
    trainer += _bytes(45, texts[unknown[0]].encode())
    trainer += b"".join(_bytes(number, name.encode()) for number, name in names[1:])
    # The normalizer changes nothing, puts no space in front, and writes spaces as they are in pieces.
    normalizer = _bytes(1, b"identity") + _number(3, 0) + _number(4, 1) + _number(5, 1)
    return written + _bytes(_TRAINER, trainer) + _bytes(_NORMALIZER, normalizer)


def _write_piece(piece: Piece, score: float) -> bytes:
    return _bytes(1, piece.text.encode()) + _key(2, _FIXED32) + struct.pack("<f", score) + _number(3, piece.kind)


def _key(number: int, wire: int) -> bytes:
    return _write_varint(number << 3 | wire)


def _bytes(number: int, value: bytes) -> bytes:
    return _key(number, _BYTES) + _write_varint(len(value)) + value


def _number(number: int, value: int) -> bytes:
    return _key(number, _VARINT) + _write_varint(value % 2**64)


def _write_varint(value: int) -> bytes:
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    written.append(value)
    return bytes(written)
