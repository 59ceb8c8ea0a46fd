"""Convolutions that use one kernel: fewer parameters, the same work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bigfoot.compress.audio import require_audio
from bigfoot.compress.change import Change
from bigfoot.compress.front_end import require_convolutions
from bigfoot.compress.least_squares import (
    NormalEquations,
    first_inputs,
    gather_equations,
    kernel_to_matrix,
    matrix_to_kernel,
    without_bias,
)
from bigfoot.compress.registry import blaming, technique
from bigfoot.compress.settings import SHARING_INITS
from bigfoot.config import Problem
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.models.reshape import load_plain_state, plain_state, reshape_config


@dataclass(frozen=True)
class ConvSharing:
    """Which convolutions share a kernel, and how it is initialized.

    Args:
        conv_sharing: lists of 0-based convolutions of equal shape, such as [[1, 2], [3, 4]].
        init: ``mean`` of the members' kernels; ``first`` or ``last`` member's; ``least_squares``, the one kernel that
            comes closest to what all members give on audio, each weighted by the inverse of its energy.
    """

    conv_sharing: Sequence[Sequence[int]]
    init: str = "mean"


def _reshape(shape: BigfootConfig, config: ConvSharing) -> BigfootConfig:
    with blaming("conv_sharing", "bad_sharing"):
        return reshape_config(shape, conv_sharing=_listed(config.conv_sharing))


def _listed(sharing: object) -> object:
    """Turn sequences of sequences into lists of lists; anything else is refused where the shape is built."""
    return [_listed(item) for item in sharing] if isinstance(sharing, list | tuple) else sharing


def _check(shape: BigfootConfig, config: ConvSharing) -> Iterator[Problem]:
    require_convolutions(shape, "conv_sharing", "conv_sharing")
    if config.init not in SHARING_INITS:
        yield Problem("init", "unknown_word", f"{config.init!r} is none of {', '.join(SHARING_INITS)}")


@technique("conv_sharing", ConvSharing, _reshape, _check)
def apply(
    model: BigfootForCTC, config: ConvSharing, batches: Sequence[PaddedAudio] = ()
) -> tuple[BigfootForCTC, Change]:
    """Build a model in which convolutions share kernels; biases, norms and all else come along.

    Args:
        model: left as it is.
        config: which, and their initialization.
        batches: audio, for ``least_squares`` alone.

    Returns:
        The new model in eval mode, and what was kept and dropped.

    Raises:
        UnfitError: layers out of range, named twice or of different shapes; an unknown ``init``, or one that needs
            audio where there is none.
    """
    if config.init == "least_squares":
        require_audio(batches, "init", "least_squares")
    sharing = [list(members) for members in config.conv_sharing]
    student, state = BigfootForCTC(reshape_config(model.config, conv_sharing=sharing)), plain_state(model)
    kernels = {tuple(members): _begin(state, members, config.init) for members in sharing}
    if config.init == "least_squares":
        kernels = _fit_kernels(model, kernels, batches)
    dropped = 0
    for members, kernel in kernels.items():
        dropped += (len(members) - 1) * kernel.numel()
        state |= {_name(layer): kernel for layer in members}
    load_plain_state(student, state)
    kept = [f"one kernel for each of the convolutions {sharing} ({config.init})", "everything else"]
    return student.eval(), Change("conv_sharing", kept, [f"{dropped:,} convolution weights"])


def _name(layer: int) -> str:
    return f"encoder.feature_extractor.conv_layers.{layer}.conv.weight"


def _begin(state: dict[str, Tensor], members: Sequence[int], init: str) -> Tensor:
    if init in ("first", "last"):
        return state[_name(members[0] if init == "first" else members[-1])]
    return torch.stack([state[_name(layer)] for layer in members]).mean(0)


@torch.no_grad()
def _fit_kernels(
    model: BigfootForCTC, kernels: dict[tuple[int, ...], Tensor], batches: Sequence[PaddedAudio]
) -> dict[tuple[int, ...], Tensor]:
    """One kernel for all members at once: their normal equations, on the unshared model's features, add up."""
    gathered: dict[int, NormalEquations] = {}
    features, lengths = first_inputs(batches)
    layers = list(model.speech_encoder.feature_encoder)
    for index, layer in enumerate(layers):
        lengths = [layer.count_frames(length) for length in lengths]
        if any(index in members for members in kernels):
            wanted = (without_bias(layer, x) for x in features)
            gathered[index] = gather_equations(zip(features, wanted, lengths, strict=True), layer, normalize=True)
        features = [layer(x, length) for x, length in zip(features, lengths, strict=True)]
    fitted = {}
    for members, kernel in kernels.items():
        whole, conv = gathered[members[0]], layers[members[0]].conv
        for layer_index in members[1:]:
            whole.gram += gathered[layer_index].gram
            whole.cross += gathered[layer_index].cross
        matrix = whole.solve(kernel_to_matrix(kernel, conv.groups))
        fitted[members] = matrix_to_kernel(matrix, conv.kernel_size[0])
    return fitted
