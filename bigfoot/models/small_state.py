"""Tensors of a folder: rounded, written in few bytes, and read back to the same numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from bigfoot.errors import ModelError
from bigfoot.models.packed import (
    STEPS,
    as_matrix,
    find_packed_fault,
    pack_codes,
    quantize_groups,
    restore_groups,
    round_groups,
    round_steps,
    unpack_codes,
)
from bigfoot.models.small_weights import LARGEST, SCALE, SmallWeights, quantize_weight, split_name, spread


def channel_axes(name: str) -> tuple[int, ...]:
    """Find the axes of output channels: a transposed convolution gives each of its taps' channels apart."""
    return (1, 2) if name.endswith(".upsampler.weight") else (0,)


def _shrink(name: str, tensor: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Return a tensor as it is written, and its scales."""
    if dtype == torch.int8:
        return quantize_weight(tensor, channel_axes(name))
    return tensor.detach().to(dtype), None


def _restore(name: str, written: Tensor, scales: Tensor | None) -> Tensor:
    full = written.float()
    return full if scales is None else full * spread(scales, full.shape, channel_axes(name))


def round_state(
    state: Mapping[str, Tensor], small: SmallWeights, layers: Collection[str], prefix: str
) -> dict[str, Tensor]:
    """Round the weights of a model to their quantized values.

    Args:
        state: fp32 tensors by name.
        small: how they will be written.
        layers: see ``SmallWeights.dtype_of``.
        prefix: see there.

    Returns:
        The same in fp32, rounded.

    Raises:
        ModelError: a weight is non-finite, or too large.
    """
    rounded = {}
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            rounded[name] = tensor
            continue
        dtype = small.dtype_of(name, tensor.ndim, layers, prefix)
        full = tensor.detach().float()
        if dtype == torch.uint8:
            bits = small.bits[split_name(name, prefix)[0]]
            rounded[name] = round_groups(full, round_steps(state[name + SCALE].detach()), bits)
        elif name.endswith(STEPS):
            rounded[name] = round_steps(full)
        else:
            rounded[name] = _restore(name, *_shrink(name, full, dtype))
        if not bool(full.isfinite().all()):
            raise ModelError(f"{name} holds NaN or infinity; train the model again before it is quantized")
        if not bool(rounded[name].isfinite().all()):
            raise ModelError(f"{name} holds {float(full.abs().max()):.3g}, too large for {dtype}; use bfloat16 or int8")
    return rounded


def pack_state(
    state: Mapping[str, Tensor], small: SmallWeights, layers: Collection[str], prefix: str
) -> dict[str, Tensor]:
    """Convert to what is written into a folder: quantized tensors, and the scales of those in int8.

    Args:
        state: tensors by name, rounded before.
        small: how they are written.
        layers: see ``SmallWeights.dtype_of``.
        prefix: see there.

    Returns:
        Tensors by name.

    Raises:
        ModelError: a tensor has other numbers than can be written.
    """
    packed = {}
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            packed[name] = tensor
            continue
        full = tensor.detach().float()
        dtype = small.dtype_of(name, tensor.ndim, layers, prefix)
        scales: Tensor | None
        if name.endswith(STEPS):
            continue
        if dtype == torch.uint8:
            bits, steps = small.bits[split_name(name, prefix)[0]], state[name + SCALE].detach()
            codes, scales = quantize_groups(as_matrix(full), steps.float(), bits), steps.half()
            written, again = pack_codes(codes, bits), restore_groups(codes, scales, full.shape)
        else:
            written, scales = _shrink(name, full, dtype)
            again = _restore(name, written, scales)
        if not torch.equal(again, full):
            raise ModelError(
                f"{name} does not fit into {small.precision} any more: the weights were changed after they were "
                "quantized. Nothing is rounded silently: bigfoot.compress.quantize.apply rounds them again, and with "
                "precision float32 keeps them as they are"
            )
        packed[name] = written
        if scales is not None:
            packed[name + SCALE] = scales
    return packed


def unpack_state(
    tensors: Mapping[str, Tensor], small: SmallWeights | None, layers: Mapping[str, nn.Module], prefix: str, source: str
) -> dict[str, Tensor]:
    """Dequantize the tensors of a folder to fp32.

    Args:
        tensors: by name, as ``pack_state`` made them.
        small: as the folder's configuration has it; None for plain floats of any kind.
        layers: those that int8 can hold, by their names within the encoder; their shapes are read.
        prefix: see there.
        source: where they come from, for messages.

    Returns:
        fp32 tensors by name.

    Raises:
        ModelError: tensors of other types than configured, or scales that are missing or damaged; all are
            listed.
    """
    state: dict[str, Tensor] = {}
    faults, used = [], set()
    for name, tensor in tensors.items():
        if name.endswith("num_batches_tracked") or (name.endswith(SCALE) and name.removesuffix(SCALE) in tensors):
            continue
        expected = None if small is None else small.dtype_of(name, tensor.ndim, layers, prefix)
        scales = tensors.get(name + SCALE) if expected in (torch.int8, torch.uint8) else None
        if small is not None and expected == torch.uint8:
            layer = split_name(name, prefix)[0]
            fault = _unpack_(state, name, tensor, scales, small.bits[layer], layers[layer])
            faults += [] if fault is None else [f"{name} {fault}"]
            continue
        fault = _find_fault(name, tensor, expected, scales)
        if fault is not None:
            faults.append(f"{name} {fault}")
            continue
        if scales is not None:
            used.add(name + SCALE)
        state[name] = _restore(name, tensor, scales)
    if faults:
        precision = "float32" if small is None else small.precision
        problem = f"{source}: its weights do not match its configuration ({precision}):\n  "
        raise ModelError(problem + "\n  ".join(sorted(faults)))
    # Other tensors stay as they are; loading reports them as left over.
    return state | {name: tensor.float() for name, tensor in tensors.items() if name not in state and name not in used}


def _unpack_(
    state: dict[str, Tensor], name: str, packed: Tensor, steps: Tensor | None, bits: int, layer: nn.Module
) -> str | None:
    """Add a packed weight and its steps to a state, or describe what is wrong with it."""
    if packed.dtype != torch.uint8:
        return f"is {str(packed.dtype).removeprefix('torch.')}, expected uint8"
    shape = cast("Tensor", layer.weight).shape
    fault = find_packed_fault(name, packed, steps, bits, shape)
    if fault is None and steps is not None:
        state[name + SCALE] = steps.float()
        state[name] = restore_groups(unpack_codes(packed, bits), steps, shape)
    return fault


def _find_fault(name: str, tensor: Tensor, expected: torch.dtype | None, scales: Tensor | None) -> str | None:
    """Describe what is wrong with a tensor of a folder; None where nothing is."""
    kind = str(tensor.dtype).removeprefix("torch.")
    if expected is None:
        return None if tensor.is_floating_point() else f"holds integers ({kind}), where floats are expected"
    if tensor.dtype != expected:
        return f"is {kind}, expected {str(expected).removeprefix('torch.')}"
    if expected != torch.int8:
        return None
    if scales is None:
        return f"has no scales: {name}{SCALE} is missing"
    axes = channel_axes(name)
    shape = tuple(tensor.shape[axis] for axis in axes if axis < tensor.ndim)
    if tuple(scales.shape) != shape or len(shape) < len(axes):
        return f"has scales of shape {tuple(scales.shape)}, expected {shape}, one a channel"
    if scales.dtype != torch.float32:
        return f"has scales of {scales.dtype}, expected float32"
    if not bool((scales.isfinite() & (scales > 0)).all()):
        return "has scales that are not finite numbers above 0"
    return f"holds numbers below {-LARGEST}" if tensor.numel() and int(tensor.min()) < -LARGEST else None
