"""What ``torch.save`` wrote, but for the numbers of its tensors: zip files, and those of PyTorch before 1.6.

Nothing of the file is run, and torch is not needed. Each tensor is checked against its storage and the storage against
the file, so that nothing is larger in memory than what lies on disk.
"""

from __future__ import annotations

import math
import os
import zipfile
from dataclasses import dataclass
from typing import BinaryIO, cast

from bigfoot.formats.safe_pickle import Builder, Symbol, UnsafePickleError, read_pickle

_MAGIC = 0x1950A86A20F9469CFC6C
_ZIP_START = b"PK\x03\x04"
_LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_LOCAL_HEADER = 30
_MAX_ENTRIES = 100_000
_MAX_DIRECTORY = 8 * 2**20
_MAX_DIMENSIONS = 8
_MAX_NUMEL = 2**48
_STORAGES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip
_DTYPES = {f"torch.{module}{name}": dtype for name, dtype in _STORAGES.items() for module in ("", "cuda.")}
_BYTES = {
    "float32": 4, "float64": 8, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1,
    "bool": 1,
}  # fmt: skip


@dataclass(eq=False)
class Storage:
    """Numbers one after another in a file.

    Args:
        key: its name there.
        dtype: of each number, as torch names it: ``float32``.
        numel: how many there are.
        position: of its first byte; None as long as no one knows.
    """

    key: str
    dtype: str
    numel: int
    position: int | None = None

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return _BYTES[self.dtype]

    @property
    def num_bytes(self) -> int:
        """Bytes in the file."""
        return self.numel * self.itemsize


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor that still lies in its file.

    Args:
        storage: where its numbers are.
        offset: numbers before its first.
        shape: sizes.
        stride: numbers from one element to the next, a dimension.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def extent(self) -> int:
        """Numbers from its first to its last."""
        if 0 in self.shape:
            return 0
        return 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))


def read_layout(file: BinaryIO) -> object:
    """Read what a PyTorch file holds, with a ``StoredTensor`` for each tensor.

    Args:
        file: open for reading bytes.

    Returns:
        What was saved; see ``read_pickle``.

    Raises:
        UnsafePickleError: it is none, damaged, or asks for more than tensors, containers and records.
        ValueError: the same, in words of Python's own readers; or EOFError, OSError, RuntimeError, BadZipFile.
    """
    start = file.read(len(_LEGACY_START))
    if start.startswith(_ZIP_START):
        return _read_zip(file)
    if start == _LEGACY_START:
        return _read_legacy(file)
    raise UnsafePickleError(f"it is no file of torch.save's (it starts with {start!r})")


def has_torch_signature(start: bytes) -> bool:
    """Return whether the first bytes of a file are those of ``torch.save``, today or before 1.6; sixteen are enough."""
    return start.startswith((_ZIP_START, _LEGACY_START))


class _Storages:
    """The storages that a pickle refers to."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.known: dict[str, Storage] = {}
        self.entries: dict[str, tuple[int, int]] | None = None

    def refer(self, reference: object) -> Storage:
        """Resolve ``("storage", type, key, location, numel)``, of old files with None behind it."""
        match reference:
            case ("storage", Symbol(name), str(key), _, int(numel), *view) if view in ([], [None]):
                pass
            case _:
                raise UnsafePickleError("a reference that is no storage as torch.save writes it")
        found = self.known.setdefault(key, Storage(key, _DTYPES.get(name, "uint8"), numel))
        if (found.dtype, found.numel) != (_DTYPES.get(name), numel):
            raise UnsafePickleError(f"storage {key[:40]!r} has two sizes or types, or one that is not known")
        if not 0 <= found.num_bytes <= self.size:
            raise UnsafePickleError(f"storage {key[:40]!r} claims {numel} numbers, more than the file holds")
        if self.entries is not None and found.position is None:
            position, size = self.entries.get(key, (0, -1))
            if found.num_bytes > size:
                raise UnsafePickleError(f"storage {key[:40]!r} claims {found.num_bytes} bytes and has {max(size, 0)}")
            found.position = position
        return found


def _rebuild_tensor(storage: object, offset: object, shape: object, stride: object, *_: object) -> StoredTensor:
    """Check a tensor against its storage, which PyTorch does not."""
    if not isinstance(storage, Storage) or not isinstance(offset, int):
        raise UnsafePickleError("a tensor without a storage")
    sizes, steps = _sizes(shape), _sizes(stride)
    if len(sizes) != len(steps):
        raise UnsafePickleError("a tensor whose sizes and strides differ in number")
    if math.prod(size or 1 for size in sizes) >= _MAX_NUMEL:
        raise UnsafePickleError(f"a tensor of shape {sizes} reaches beyond its storage of {storage.numel} numbers")
    tensor = StoredTensor(storage, offset, sizes, steps)
    if offset < 0 or offset + tensor.extent > storage.numel:
        raise UnsafePickleError(f"a tensor of shape {sizes} reaches beyond its storage of {storage.numel} numbers")
    if math.prod(sizes) > tensor.extent:
        raise UnsafePickleError(f"a tensor of shape {sizes} in {tensor.extent} numbers would grow when it is copied")
    return tensor


def _sizes(values: object) -> tuple[int, ...]:
    listed = values if isinstance(values, tuple | list) and len(values) <= _MAX_DIMENSIONS else [None]
    sizes = tuple(value for value in listed if type(value) is int and 0 <= value < _MAX_NUMEL)
    if len(sizes) != len(listed):
        raise UnsafePickleError(f"a tensor's sizes should be up to {_MAX_DIMENSIONS} counts")
    return sizes


def _rebuild_parameter(data: object, *_: object) -> object:
    return data


def _size(values: object = ()) -> tuple[int, ...]:
    return _sizes(values)


_BUILDERS: dict[str, Builder] = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch.Size": _size,
}


def _no_call(*_: object) -> object:
    raise UnsafePickleError("it calls a type of PyTorch's")


# Types may be named, not called.
_BUILDERS |= dict.fromkeys([*_DTYPES, *(f"torch.{dtype}" for dtype in _BYTES)], _no_call)


class _Cautious:
    """Limits the reads of zipfile, which takes a directory whole, of the size that the file claims."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        self.seek, self.tell = file.seek, file.tell

    def read(self, count: int = -1) -> bytes:
        left = self.size - self.file.tell()
        if (left if count < 0 else min(count, left)) > _MAX_DIRECTORY:
            raise UnsafePickleError(f"the directory of its zip archive has more than {_MAX_DIRECTORY} bytes")
        return self.file.read(count)


def _read_zip(file: BinaryIO) -> object:
    size = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(cast(BinaryIO, _Cautious(file, size))) as archive:
        entries = archive.infolist()
    root = _checked_root(entries)
    named = {entry.filename: entry for entry in entries}
    pickled = named.get(f"{root}/data.pkl")
    if pickled is None or f"{root}/constants.pkl" in named:
        raise UnsafePickleError("it holds a program (torch.jit) or something else than torch.save's data.pkl")
    order = named.get(f"{root}/byteorder")
    storages = _Storages(size)
    storages.entries = {
        name.removeprefix(f"{root}/data/"): (_data_position(file, entry, size), entry.file_size)
        for name, entry in named.items()
        if name.startswith(f"{root}/data/")
    }
    if order is not None:
        file.seek(_data_position(file, order, size))
        if file.read(min(order.file_size, 8)) != b"little":
            raise UnsafePickleError("its numbers are not in little-endian order")
    return read_pickle(file, _data_position(file, pickled, size), pickled.file_size, _BUILDERS, storages.refer)


def _checked_root(entries: list[zipfile.ZipInfo]) -> str:
    """Return the one folder that all entries lie in; none is ever unpacked, but a name that leaves it is refused."""
    if not 0 < len(entries) <= _MAX_ENTRIES:
        raise UnsafePickleError(f"{len(entries)} entries in its zip archive")
    root = entries[0].filename.split("/")[0]
    for entry in entries:
        parts = entry.orig_filename.split("/")
        if len(parts) < 2 or parts[0] != root or {"", ".", ".."} & set(parts) or "\\" in entry.orig_filename:
            raise UnsafePickleError(f"its entry {entry.orig_filename[:100]!r} lies outside its one folder")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise UnsafePickleError(f"its entry {entry.filename[:100]!r} is compressed, which torch.save's are not")
    if len({entry.filename for entry in entries}) != len(entries):
        raise UnsafePickleError("its zip archive has two entries of one name")
    return root


def _data_position(file: BinaryIO, entry: zipfile.ZipInfo, size: int) -> int:
    """Position of an entry's first byte, which is only in the header before it."""
    file.seek(entry.header_offset)
    header = file.read(_LOCAL_HEADER)
    if len(header) != _LOCAL_HEADER or not header.startswith(_ZIP_START):
        raise UnsafePickleError("its zip archive is damaged")
    names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    position = entry.header_offset + _LOCAL_HEADER + names
    if position + entry.file_size > size:
        raise UnsafePickleError(f"its entry {entry.filename[:100]!r} claims to be larger than the file")
    return position


def _read_legacy(file: BinaryIO) -> object:
    """Five pickles (magic number, version, machine, content, keys of storages), then the storages themselves."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    storages = _Storages(size)

    def read_next() -> object:
        start = file.tell()
        return read_pickle(file, start, size - start, _BUILDERS, storages.refer)

    magic, version, machine = read_next(), read_next(), read_next()
    if magic != _MAGIC or version != 1001 or not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise UnsafePickleError("its head is not that of a PyTorch file of a little-endian machine")
    content, keys = read_next(), read_next()
    if not isinstance(keys, list) or len(keys) > _MAX_ENTRIES:
        raise UnsafePickleError("it has no list of its storages")
    for key in keys:
        storage = storages.known.get(key) if isinstance(key, str) else None
        claimed = int.from_bytes(file.read(8), "little", signed=True)
        if storage is None or claimed != storage.numel or file.tell() + storage.num_bytes > size:
            raise UnsafePickleError("a storage does not match its entry, or reaches beyond the end of the file")
        storage.position = file.tell()
        file.seek(storage.num_bytes, os.SEEK_CUR)
    if any(storage.position is None and storage.numel for storage in storages.known.values()):
        raise UnsafePickleError("storages that its tensors need are not in it")
    return content
