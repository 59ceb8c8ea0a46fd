"""Bytes of a model's file, counted from its shape: nothing is built or written."""

from __future__ import annotations

import json
from collections.abc import Iterator

import torch

from bigfoot.compress.subnet import PRECISION_OF_BITS
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.fake_int8 import int8_layers
from bigfoot.models.reshape import reshape_config
from bigfoot.models.small_weights import SCALE, SmallWeights

_NAMES = {torch.float32: "F32", torch.int8: "I8", torch.int64: "I64", torch.float16: "F16", torch.bfloat16: "BF16"}
_ALIGNED = 8


def count_stored_bytes(shape: BigfootConfig, bits: int = 32) -> int:
    """Count the bytes of ``model.safetensors`` of a shape, to the last one.

    Args:
        shape: in fp32.
        bits: of its weights, see ``PRECISION_OF_BITS``.

    Examples:
        >>> from bigfoot.formats.folder import load_config, resolve_model
        >>> folder = resolve_model("tiny_teacher")
        >>> count_stored_bytes(load_config("tiny_teacher")) == (folder / "model.safetensors").stat().st_size
        True
    """
    # Of one type, tensors stand in the order of their names; wide types come first.
    stored = sorted(_list_tensors(shape, bits), key=lambda each: (-each[1].itemsize, each[0]))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, dtype, sizes in stored:
        end = offset + dtype.itemsize * torch.Size(sizes).numel()
        header[name] = {"dtype": _NAMES[dtype], "shape": list(sizes), "data_offsets": [offset, end]}
        offset = end
    text = len(json.dumps(header, separators=(",", ":")).encode())
    return _ALIGNED + -(-text // _ALIGNED) * _ALIGNED + offset


def _list_tensors(shape: BigfootConfig, bits: int) -> Iterator[tuple[str, torch.dtype, torch.Size]]:
    """Name, type and sizes of each tensor that is written; a shared kernel once."""
    precision = PRECISION_OF_BITS[bits]
    small = None if precision is None else SmallWeights(precision)
    with torch.device("meta"):
        model = BigfootForCTC(shape if small is None else reshape_config(shape, small_weights=small.to_dict()))
    tied = model.get_expanded_tied_weights_keys(all_submodels=True)
    layers = {} if small is None else int8_layers(model.speech_encoder)
    for name, tensor in model.state_dict().items():
        if name in tied:
            continue
        dtype = tensor.dtype
        if small is not None and tensor.is_floating_point():
            dtype = small.dtype_of(name, tensor.ndim, layers, model.config.weight_prefix)
        yield name, dtype, tensor.shape
        if dtype == torch.int8:
            yield name + SCALE, torch.float32, tensor.shape[:1]
