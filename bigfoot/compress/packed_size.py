"""Bytes of a folder's weights before they are written: counted tensor by tensor, with the header of the file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import torch

from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.fake_int8 import int8_layers
from bigfoot.models.packed import STEPS
from bigfoot.models.reshape import reshape_config
from bigfoot.models.small_state import channel_axes
from bigfoot.models.small_weights import SCALE, SmallWeights, split_name

_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int8: "I8", torch.uint8: "U8",
          torch.int64: "I64"}  # fmt: skip
_ORDER = ("I64", "F32", "BF16", "F16", "I8", "U8")
_WIDTH = {"I64": 8, "F32": 4, "BF16": 2, "F16": 2, "I8": 1, "U8": 1}


def count_small_bytes(shape: BigfootConfig, small: SmallWeights) -> int:
    """Count the bytes of ``model.safetensors`` of a model with quantized weights, to the last one.

    Args:
        shape: of the model; how its weights are written there does not matter.
        small: how they are to be written.

    Examples:
        >>> from bigfoot.models.configuration import BigfootConfig
        >>> count_small_bytes(BigfootConfig(num_hidden_layers=2), SmallWeights("int8")) < 26_000_000
        True
    """
    with torch.device("meta"):
        model = BigfootForCTC(reshape_config(shape, small_weights=small.to_dict()))
    prefix, layers = model.config.weight_prefix, int8_layers(model.speech_encoder)
    state = model.state_dict()
    tied = model.get_expanded_tied_weights_keys(all_submodels=True)
    entries: dict[str, tuple[str, Sequence[int]]] = {}
    for name, tensor in state.items():
        if tied.get(name) in state or name.endswith(STEPS):
            continue
        kind = tensor.dtype
        if tensor.is_floating_point():
            kind = small.dtype_of(name, tensor.ndim, layers, prefix)
        entries[name] = _NAMES[kind], tuple(tensor.shape)
        if kind == torch.uint8:
            rows, bits = tensor.shape[0], small.bits[split_name(name, prefix)[0]]
            entries[name] = _NAMES[kind], (rows, tensor.numel() // rows * bits // 8)
            entries[name + SCALE] = "F16", tuple(state[name + SCALE].shape)
        elif kind == torch.int8:
            entries[name + SCALE] = "F32", tuple(tensor.shape[axis] for axis in channel_axes(name))
    return _file_bytes(entries)


def _file_bytes(entries: Mapping[str, tuple[str, Sequence[int]]]) -> int:
    """Count what safetensors writes: a length, a header that ends on a multiple of eight, and the tensors."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(entries, key=lambda name: (_ORDER.index(entries[name][0]), name)):
        kind, shape = entries[name]
        start, end = end, end + torch.Size(shape).numel() * _WIDTH[kind]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}
    length = len(json.dumps(header, separators=(",", ":")).encode())
    return 8 + -(-length // 8) * 8 + end
