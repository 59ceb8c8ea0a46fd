"""The files of a folder that hold its weights: safetensors or PyTorch's, whole or in shards."""

from __future__ import annotations

import json
from io import RawIOBase
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bigfoot.errors import ModelError
from bigfoot.formats.torch_file import read_state_dict
from bigfoot.text.json_fields import quote
from bigfoot.text.json_files import read_json

_POINTER = b"version https://git-lfs"
_MAX_HEADER = 2 * 2**20
_AT_ONCE = 64 * 2**20
_OF_OTHERS = ("tf_model.h5", "flax_model.msgpack")
_KINDS = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
"""Numbers by their names in a header."""


def weight_files(folder: Path) -> list[Path]:
    """Find the files that hold a folder's weights, of each the first kind that is there: many folders hold two.

    Returns:
        ``model.safetensors`` or its shards, else ``pytorch_model.bin`` or its shards; empty where there are none.

    Raises:
        ModelError: an index of shards cannot be read.
    """
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            shards = read_json(index).get("weight_map")
            if not isinstance(shards, dict) or not shards:
                raise ModelError(f"{index} has no weight_map; the file is damaged")
            outside = [shard for shard in shards.values() if not isinstance(shard, str) or Path(shard).name != shard]
            if outside:
                raise ModelError(f"{index} names {str(outside[0])[:100]!r}, which is no file of its folder")
            return [folder / shard for shard in sorted(set(shards.values()))]
    return []


def read_weights(folder: Path, *, in_fp32: bool = False) -> dict[str, Tensor]:
    """Read all tensors of a folder: safetensors or PyTorch files, sharded or not, without running their code.

    Args:
        folder: with the files.
        in_fp32: see ``read_safetensors``.

    Raises:
        ModelError: there are none, or they cannot be read.
    """
    files = weight_files(folder)
    if not files:
        raise ModelError(f"{folder}: no model.safetensors or pytorch_model.bin in it{advise_on_weights(folder)}")
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= read_safetensors(file, in_fp32=in_fp32) if file.suffix == ".safetensors" else read_state_dict(file)
    return tensors


def advise_on_weights(folder: Path) -> str:
    """Return what to do with a folder whose weights are of another kind; empty where there is nothing to say.

    Args:
        folder: without weights that are read.
    """
    if (folder / "adapter_config.json").is_file():
        base = quote(read_json(folder / "adapter_config.json").get("base_model_name_or_path"))
        return (
            f"; it holds an adapter of PEFT's for {base}: merge it (PeftModel.from_pretrained(...).merge_and_unload()) "
            "and name the folder of what is saved then"
        )
    found = next((name for name in _OF_OTHERS if (folder / name).is_file()), None)
    return "" if found is None else f"; it holds {found}: open it with a transformers that reads it, and save it anew"


def read_safetensors(file: Path, *, in_fp32: bool = False) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file, each into memory of its own.

    Args:
        file: the file.
        in_fp32: bring floating point of another width to fp32 as it is read, so that no second copy is held.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        _check_header(file)
        return _copy_tensors(file, in_fp32)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file}: its weights cannot be read: {error}") from error


def _copy_tensors(file: Path, in_fp32: bool) -> dict[str, Tensor]:
    """Read tensor by tensor into memory of its own: pages of a mapped file would count as memory held, and cost time.

    What is left here to check of the header is its own affair: ``safe_open`` has refused the others.
    """
    with safe_open(file, framework="pt") as opened:
        names = list(opened.keys())
    with file.open("rb", buffering=0) as source:
        length = int.from_bytes(source.read(8), "little")
        header = json.loads(source.read(length))
        places = sorted((header[name]["data_offsets"], name) for name in names)
        found = {}
        for (begin, end), name in places:
            tensor = torch.empty(header[name]["shape"], dtype=_find_kind(header[name]["dtype"], file))
            if tensor.nbytes != end - begin:
                raise ModelError(f"{file} cannot be read: {quote(name)} has {end - begin} bytes for {tensor.nbytes}")
            source.seek(8 + length + begin)
            _fill(tensor, source, file)
            wide = in_fp32 and tensor.is_floating_point() and tensor.dtype != torch.float32
            found[name] = tensor.float() if wide else tensor
    return found


def _find_kind(named: str, file: Path) -> torch.dtype:
    if named not in _KINDS:
        raise ModelError(f"{file} cannot be read: it holds numbers of the kind {quote(named)}")
    return _KINDS[named]


def _fill(tensor: Tensor, source: RawIOBase, file: Path) -> None:
    if not tensor.nbytes:
        return
    left = tensor.flatten().view(torch.uint8).numpy().data
    while left:
        count = source.readinto(left[:_AT_ONCE])
        if not count:
            raise ModelError(f"{file} cannot be read: it is cut off")
        left = left[count:]


def _check_header(file: Path) -> None:
    """What a header costs is bounded by its length: it is parsed once, from the front to the back."""
    if not file.is_file():
        raise ModelError(f"{file} cannot be read: there is no such file")
    with file.open("rb") as opened:
        start = opened.read(len(_POINTER))
    if start == _POINTER:
        raise ModelError(
            f"{file} cannot be read: it is the pointer that git-lfs leaves in the place of a large file; "
            "fetch the file itself: git lfs pull"
        )
    length = int.from_bytes(start[:8], "little")
    if length > _MAX_HEADER:
        raise ModelError(f"{file} cannot be read: it claims a header of {length} bytes; of a model it has thousands")
