"""Weights of four and two bits: groups of numbers share a step, and several numbers share a byte.

A weight is seen as a matrix, (features out, features in). Each row is cut into groups of ``group_size`` numbers; a
number is a signed integer of its group's step. Bytes are those of ONNX Runtime's operator MatMulNBits: integers plus
half of their range, the first in the lowest bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from bigfoot.errors import ModelError

BITS = (2, 4)
GROUP_SIZES = (16, 32, 64, 128, 256)
STEPS = "weight_scale"
"""Buffer of a layer with its steps, (features out, groups)."""
LEAST_STEP = 2.0**-14
"""The smallest normal number of fp16, in which steps are stored."""


def as_matrix(weight: Tensor) -> Tensor:
    """Return a weight as a matrix, (out, in): kernels of a convolution tap by tap, as an exported file multiplies them.

    Args:
        weight: (out, in), or (out, in, width).

    Examples:
        >>> as_matrix(torch.arange(6).view(1, 2, 3)).tolist()
        [[0, 3, 1, 4, 2, 5]]
    """
    return weight if weight.ndim == 2 else weight.transpose(1, 2).flatten(1)


def from_matrix(matrix: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the weight of a matrix; see ``as_matrix``.

    Args:
        matrix: (out, in).
        shape: of the weight.
    """
    if len(shape) == 2:
        return matrix
    out, channels, width = shape
    return matrix.reshape(out, width, channels).transpose(1, 2).contiguous()


def count_columns(weight: Tensor) -> int:
    """Return the columns of a weight's matrix."""
    return weight.numel() // max(1, weight.shape[0])


def code_range(bits: int) -> tuple[int, int]:
    """Return the lowest and the highest integer.

    Examples:
        >>> code_range(4), code_range(2)
        ((-8, 7), (-2, 1))
    """
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def round_steps(steps: Tensor) -> Tensor:
    """Round steps to what is stored: numbers of fp16, none below ``LEAST_STEP``."""
    return steps.abs().clamp(min=LEAST_STEP).half().float()


def spread_steps(steps: Tensor, columns: int) -> Tensor:
    """Return the step of every number.

    Args:
        steps: (out, groups).
        columns: of the matrix.

    Returns:
        (out, columns).
    """
    return steps.repeat_interleave(columns // max(1, steps.shape[1]), dim=1)


def quantize_groups(matrix: Tensor, steps: Tensor, bits: int) -> Tensor:
    """Quantize a matrix to integers of its groups' steps.

    Args:
        matrix: (out, in).
        steps: (out, groups), above 0.
        bits: of an integer.

    Returns:
        int8, (out, in).

    Examples:
        >>> quantize_groups(torch.tensor([[0.9, -3.0, 0.3, 0.1]]), torch.tensor([[1.0, 0.1]]), bits=2).tolist()
        [[1, -2, 1, 1]]
    """
    low, high = code_range(bits)
    return (matrix / spread_steps(steps, matrix.shape[1])).round().clamp(low, high).to(torch.int8)


def pack_codes(codes: Tensor, bits: int) -> Tensor:
    """Pack integers into bytes.

    Args:
        codes: (out, in), as ``quantize_groups`` gives them; bytes are filled along a row.
        bits: of an integer.

    Returns:
        uint8, (out, in * bits / 8).

    Examples:
        >>> pack_codes(torch.tensor([[-8, 7]]), bits=4).tolist()
        [[240]]
    """
    each = 8 // bits
    unsigned = (codes.to(torch.int16) - code_range(bits)[0]).view(codes.shape[0], -1, each)
    places = 2 ** (bits * torch.arange(each, dtype=torch.int16, device=codes.device))
    return (unsigned * places).sum(-1).to(torch.uint8)


def unpack_codes(packed: Tensor, bits: int) -> Tensor:
    """Return the integers of bytes; see ``pack_codes``."""
    each = 8 // bits
    places = bits * torch.arange(each, device=packed.device)
    unsigned = (packed.to(torch.int64)[..., None] >> places) & (2**bits - 1)
    return (unsigned + code_range(bits)[0]).to(torch.int8).flatten(1)


def restore_groups(codes: Tensor, steps: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the weight of integers and steps, exact in fp32.

    Args:
        codes: (out, in).
        steps: (out, groups).
        shape: of the weight.
    """
    return from_matrix(codes.float() * spread_steps(steps.float(), codes.shape[1]), shape)


def round_groups(weight: Tensor, steps: Tensor, bits: int) -> Tensor:
    """Round a weight to integers of its groups' steps.

    Args:
        weight: of a linear map or a convolution.
        steps: (out, groups), as stored.
        bits: of an integer.
    """
    return restore_groups(quantize_groups(as_matrix(weight), steps, bits), steps, weight.shape)


def packable_layers(layers: Mapping[str, nn.Module], shared: Mapping[str, str] | None = None) -> dict[str, nn.Module]:
    """Return the layers whose weights four or two bits can hold: linear maps, and convolutions with their own kernel.

    Args:
        layers: see ``bigfoot.models.fake_int8.int8_layers``.
        shared: names of weights that are another's, and of those.
    """
    pairs = (shared or {}).items()
    others = {name.removesuffix(".weight") for pair in pairs for name in pair}
    return {
        name: layer
        for name, layer in layers.items()
        if isinstance(layer, nn.Linear | nn.Conv1d) and name not in others
    }


def install_steps_(
    encoder: nn.Module, bits: Mapping[str, int], group_size: int, layers: Mapping[str, nn.Module]
) -> None:
    """Give packed layers the buffer of their steps.

    Args:
        encoder: a ``SpeechEncoder``, changed in place.
        bits: of each packed layer.
        group_size: numbers that share a step.
        layers: that can be packed.

    Raises:
        ModelError: a layer is not there, or its width is no multiple of the group size.
    """
    unknown = [name for name in bits if name not in layers]
    weights = {name: cast("Tensor", layers[name].weight) for name in bits if name in layers}
    columns = {name: count_columns(weight) for name, weight in weights.items()}
    uneven = [f"{name} ({count} columns)" for name, count in columns.items() if count % group_size]
    if unknown or uneven:
        fault = f"no layer here is called {unknown[0]}" if unknown else f"no multiple of group_size: {uneven[0]}"
        raise ModelError(f"small_weights.bits does not fit the shape: {fault}")
    for name, count in columns.items():
        groups = torch.ones(weights[name].shape[0], count // group_size)
        encoder.get_submodule(name).register_buffer(STEPS, groups)


def find_packed_fault(name: str, packed: Tensor, steps: Tensor | None, bits: int, shape: Sequence[int]) -> str | None:
    """Describe what is wrong with a packed weight of a folder; None where nothing is.

    Args:
        name: of the tensor.
        packed: as it was read.
        steps: of its groups.
        bits: of an integer.
        shape: of the weight.
    """
    rows, columns = shape[0], int(torch.Size(shape).numel()) // max(1, shape[0])
    if tuple(packed.shape) != (rows, columns * bits // 8):
        return f"has shape {tuple(packed.shape)}, expected {(rows, columns * bits // 8)} for {bits} bits"
    if steps is None:
        return f"has no steps: {name}_scale is missing"
    if steps.dtype != torch.float16:
        return f"has steps of {steps.dtype}, expected float16"
    if steps.ndim != 2 or steps.shape[0] != rows or not steps.shape[1] or columns % steps.shape[1]:
        return f"has steps of shape {tuple(steps.shape)}, which cut no row of {columns} into groups"
    if not bool((steps.isfinite() & (steps > 0)).all()):
        return "has steps that are not finite numbers above 0"
    return None
