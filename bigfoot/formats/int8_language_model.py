"""Language models with eight-bit weights on disk: their linear maps as integers with a scale a channel.

The file has a name of its own, so that transformers finds no weights in such a folder instead of wrong ones. In memory
weights are fp32, rounded to what is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from bigfoot.errors import ModelError
from bigfoot.formats.weight_files import read_safetensors
from bigfoot.models.finite import find_non_finite
from bigfoot.models.small_weights import SCALE, matches, quantize_weight
from bigfoot.text.json_files import read_json_if_there, write_json

WEIGHTS, SETTINGS = "int8.safetensors", "int8.json"


@dataclass(frozen=True)
class Int8Weights:
    """Which weights are integers.

    Args:
        keep_fp32: names of linear maps, or patterns, that are not.
    """

    keep_fp32: Sequence[str] = ()


def is_int8(folder: Path) -> bool:
    """Return whether a folder has eight-bit weights."""
    return (folder / WEIGHTS).is_file()


def read_int8(folder: Path) -> Int8Weights | None:
    """Return how a folder's weights are quantized; None for others."""
    if not is_int8(folder):
        return None
    listed = read_json_if_there(folder / SETTINGS).get("keep_fp32", [])
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise ModelError(f"{folder / SETTINGS}: keep_fp32 should list names of linear maps")
    return Int8Weights(tuple(listed))


def _linear_maps(model: Any, small: Int8Weights) -> Iterator[tuple[str, Tensor, int]]:  # noqa: ANN401
    """Names and weights of the maps that are quantized, and where their output channels are."""
    table = model.get_input_embeddings().weight
    for name, module in model.named_modules():
        # A head that shares the table of embeddings stays with it.
        if not isinstance(module, nn.Linear | Conv1D) or module.weight is table:
            continue
        if not any(matches(name, pattern) for pattern in small.keep_fp32):
            yield f"{name}.weight", module.weight, int(isinstance(module, Conv1D))


@torch.no_grad()
def round_(model: Any, small: Int8Weights) -> int:  # noqa: ANN401 - of transformers'
    """Round the linear maps of a language model to eight bits.

    Args:
        model: of transformers', changed in place.
        small: what stays.

    Returns:
        Parameters that were rounded.
    """
    count = 0
    for _, weight, axis in _linear_maps(model, small):
        weight.copy_(_restore(*quantize_weight(weight, axis), axis))
        count += weight.numel()
    return count


def _restore(integers: Tensor, scales: Tensor, axis: int) -> Tensor:
    return integers.float() * scales.view([-1 if dim == axis else 1 for dim in range(integers.ndim)])


def save_int8(model: Any, small: Int8Weights, folder: Path) -> None:  # noqa: ANN401 - of transformers'
    """Write configuration and weights.

    Args:
        model: rounded by ``round_``.
        small: what stays.
        folder: created.

    Raises:
        ModelError: the weights were changed after they were rounded.
    """
    model.config.save_pretrained(folder)
    axes = {name: axis for name, _, axis in _linear_maps(model, small)}
    tensors: dict[str, Tensor] = {}
    written: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) in written:
            continue  # shared with one before
        written.add(id(tensor))
        full = tensor.detach().cpu().contiguous()
        if name in axes:
            integers, scales = quantize_weight(full, axes[name])
            if not torch.equal(_restore(integers, scales, axes[name]), full):
                raise ModelError(f"{name}: changed after it was quantized; quantize the language model again")
            tensors |= {name: integers, name + SCALE: scales}
        else:
            tensors[name] = full
    save_file(tensors, folder / WEIGHTS)
    write_json(folder / SETTINGS, {"keep_fp32": list(small.keep_fp32)})


def load_int8(folder: Path, *, trust_remote_code: bool = False) -> Any:  # noqa: ANN401 - of transformers'
    """Read a language model of ``save_int8``; in memory its weights are fp32.

    Args:
        folder: with configuration and weights.
        trust_remote_code: run code that the folder brings along.

    Raises:
        ModelError: weights are missing, left over or of another shape.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    with torch.random.fork_rng([]):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=trust_remote_code)
    tensors, small = read_safetensors(folder / WEIGHTS), read_int8(folder)
    assert small is not None
    axes = {name: axis for name, _, axis in _linear_maps(model, small)}
    if faults := [name for name in axes if name in tensors and name + SCALE not in tensors]:
        raise ModelError(f"{folder / WEIGHTS}: without scales: {', '.join(faults[:5])}")
    state = {
        name: _restore(tensor, tensors[name + SCALE], axes[name]) if name in axes else tensor
        for name, tensor in tensors.items() if name.removesuffix(SCALE) not in axes or name in axes
    }  # fmt: skip
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ModelError(f"{folder / WEIGHTS} does not fit its configuration: {error}") from error
    own = model.state_dict(keep_vars=True)
    shared = {id(own[name]) for name in state if name in own}
    faults = [*(name for name in missing if id(own[name]) not in shared), *unexpected, *find_non_finite(state)]
    if faults:
        raise ModelError(f"{folder / WEIGHTS} does not fit its configuration: {', '.join(faults[:5])}")
    return model.eval()
