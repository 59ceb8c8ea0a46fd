"""Numbers in the weights of an ONNX file, counted without its package and without reading the weights themselves.

The file is a protocol buffer, ``ModelProto`` of ``onnx.proto``: field 7 is the graph, its field 5 each weight
(``TensorProto``: 1 dimensions, 2 element type).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

_GRAPH, _WEIGHT, _DIMENSIONS, _TYPE = 7, 5, 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_COUNTED = frozenset({1, 2, 3, 10, 11, 16, 17, 18, 19, 20, 21, 22, 23})
"""Element types of weights: floats of all widths, and integers of 8 and 4 bits."""
_MOST_DIMENSIONS = 64


class _Field(NamedTuple):
    """A field: its number, its value or length, and whether it has bytes, at which the file then stands."""

    number: int
    value: int
    holds_bytes: bool


def count_weights(path: Path) -> int:
    """Count the numbers in the weights of a graph.

    Args:
        path: of the file; weights that lie in another file count too.

    Raises:
        ValueError: it is no such file, or cut off.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        return sum(
            _count(file, weight.value)
            for graph in _fields(file, size) if graph.number == _GRAPH and graph.holds_bytes
            for weight in _fields(file, file.tell() + graph.value)
            if weight.number == _WEIGHT and weight.holds_bytes
        )  # fmt: skip


def _count(file: BinaryIO, length: int) -> int:
    kind, dimensions = 0, list[int]()
    for field in _fields(file, file.tell() + length):
        if field.number == _TYPE and not field.holds_bytes:
            kind = field.value
        elif field.number == _DIMENSIONS and field.holds_bytes:
            end = file.tell() + field.value
            while file.tell() < end and len(dimensions) < _MOST_DIMENSIONS:
                dimensions.append(_varint(file))
        elif field.number == _DIMENSIONS:
            dimensions.append(field.value)
    return math.prod(dimensions) if dimensions and kind in _COUNTED else 0


def _fields(file: BinaryIO, end: int) -> Iterator[_Field]:
    """Each field up to a place; whatever the caller read of one, the next follows behind it."""
    while file.tell() < end:
        key = _varint(file)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            yield _Field(number, _varint(file), False)
            continue
        length = {_FIXED64: 8, _FIXED32: 4}.get(wire)
        if wire == _BYTES:
            length = _varint(file)
        start = file.tell()
        if length is None or start + length > end:
            raise ValueError("it ends in the middle of a field, or is no protocol buffer")
        yield _Field(number, length, wire == _BYTES)
        file.seek(start + length)


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("it ends in the middle of a number")
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError("a number of it has more than 64 bits")
