"""Shards of a cache of the teacher's outputs: written as a whole, each with a voucher beside it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bigfoot.errors import DataError
from bigfoot.storage.replace import swapped_in
from bigfoot.storage.state import parse_as


def shard_path(folder: Path, number: int) -> Path:
    """Return the file of a shard.

    Args:
        folder: of the cache.
        number: of the shard.
    """
    return folder / f"shard_{number:05}.safetensors"


def write_shard(folder: Path, number: int, names: Sequence[str], tensors: dict[str, Tensor]) -> None:
    """Write a shard, then its voucher.

    Args:
        folder: of the cache.
        number: of the shard.
        names: of its utterances.
        tensors: by name.

    Raises:
        DataError: it could not be written.
    """
    path = shard_path(folder, number)
    try:
        with swapped_in(path) as beside:
            # A view of a row of a batch is not stored alone otherwise.
            save_file({name: tensor.clone() for name, tensor in tensors.items()}, beside)
            voucher = {"utterances": list(names), "bytes": beside.stat().st_size, "crc32": _checksum(beside)}
        replace_text(path.with_suffix(".json"), json.dumps(voucher))
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"distill.cache: {path} could not be written ({error}); what is written stays, the same command goes on"
        ) from error


def replace_text(path: Path, text: str) -> None:
    """Write a file of text that is either whole or as it was.

    Args:
        path: the file.
        text: of it.
    """
    with swapped_in(path) as beside:
        beside.write_text(text, encoding="utf-8")


def _checksum(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            found = zlib.crc32(block, found)
    return found


def is_vouched(folder: Path, number: int, names: Sequence[str]) -> bool:
    """Return whether a shard is there and whole.

    Args:
        folder: of the cache.
        number: of the shard.
        names: of its utterances.

    Raises:
        DataError: it is there and damaged, or holds other utterances.
    """
    path = shard_path(folder, number)
    if not path.with_suffix(".json").exists():
        return False
    voucher = read_voucher(path)
    if voucher["utterances"] != list(names):
        raise DataError(f"distill.cache: {path} holds other utterances than it should; remove {folder}")
    if not path.exists() or path.stat().st_size != voucher["bytes"] or _checksum(path) != voucher["crc32"]:
        raise DataError(
            f"distill.cache: {path} is damaged; remove {path.with_suffix('.json').name}, and it is written again"
        )
    return True


def read_voucher(path: Path) -> dict[str, Any]:
    """Read the voucher of a shard.

    Args:
        path: of the shard.

    Raises:
        DataError: it cannot be read.
    """
    file = path.with_suffix(".json")
    try:
        voucher: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        kinds = {"utterances": list[str], "bytes": int, "crc32": int}
        return {name: parse_as(kind, voucher[name], name) for name, kind in kinds.items()}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"distill.cache: {file} cannot be read ({error}); remove it, it is written again") from error


def open_shard_file(path: Path) -> Any:  # noqa: ANN401 - safetensors does not type it
    """Open a shard to read tensors of it.

    Args:
        path: of the shard.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise DataError(f"distill.cache: {path} cannot be read ({error}); remove its .json, run again") from error


def read_tensor(file: Any, name: str) -> Tensor:  # noqa: ANN401
    """Read a tensor of an open shard.

    Args:
        file: of ``open_shard_file``.
        name: of the tensor.

    Raises:
        DataError: it has none of that name.
    """
    try:
        tensor: Tensor = file.get_tensor(name)
    except SafetensorError as error:
        raise DataError(f"distill.cache: a shard lacks {name} ({error}); remove the folder") from error
    return tensor
