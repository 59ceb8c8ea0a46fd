"""Grouped convolutions in the feature encoder, initialized from the dense ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor

from bigfoot.compress.audio import require_audio
from bigfoot.compress.change import Change
from bigfoot.compress.channel_order import kept_energy, kernel_energies, order_channels
from bigfoot.compress.front_end import require_convolutions
from bigfoot.compress.least_squares import (
    first_inputs,
    gather_equations,
    kernel_to_matrix,
    matrix_to_kernel,
    without_bias,
)
from bigfoot.compress.registry import blaming, technique
from bigfoot.compress.settings import CONV_INITS
from bigfoot.config import Problem
from bigfoot.errors import ModelError, UnfitError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.models.reshape import load_plain_state, plain_state, reshape_config


@dataclass(frozen=True)
class ConvGroups:
    """How many groups, and how their kernels are initialized.

    Args:
        conv_groups: one number for the convolutions 1 and up (0 has a single input channel), or one for each.
        init: ``slice`` takes the dense kernel's block diagonal; ``permute`` the same, after putting the channels into
            an order in which it holds the most energy; ``least_squares`` fits, layer after layer, what the grouped
            layer gives to what the dense one gave.
    """

    conv_groups: int | Sequence[int]
    init: str = "slice"


def groups_per_conv(config: BigfootConfig, conv_groups: int | Sequence[int]) -> list[int]:
    """Return the number of groups of each convolution.

    Raises:
        UnfitError: a list of another length, or something that is not a number.

    Examples:
        >>> groups_per_conv(BigfootConfig(), 2)
        [1, 2, 2, 2, 2, 2, 2]
    """
    require_convolutions(config, "conv_groups", "conv_groups")
    if _is_whole(conv_groups):
        return [1] + [conv_groups] * (config.num_conv_layers - 1)
    if isinstance(conv_groups, str) or not isinstance(conv_groups, Sequence) or not all(map(_is_whole, conv_groups)):
        raise _unfit(f"{conv_groups!r} should be a whole number or a list of them")
    if len(conv_groups) != config.num_conv_layers:
        raise _unfit(f"lists {len(conv_groups)} numbers for {config.num_conv_layers} convolutions")
    return list(conv_groups)


def _unfit(message: str) -> UnfitError:
    return UnfitError(Problem("conv_groups", "bad_groups", message))


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def slice_groups(weight: Tensor, old_groups: int, groups: int) -> Tensor:
    """Take from a kernel what a grouped convolution can hold: its block diagonal.

    Args:
        weight: (C_out, C_in / old_groups, K).
        old_groups: groups that the kernel has.
        groups: groups that it should get, a multiple of ``old_groups``.

    Returns:
        (C_out, C_in / groups, K); group j holds the weights from input block j to output block j.

    Raises:
        ModelError: ``groups`` is no multiple of ``old_groups``.

    Examples:
        >>> import torch
        >>> slice_groups(torch.tensor([[1.0, 2.0], [3.0, 4.0]])[..., None], 1, 2).flatten().tolist()
        [1.0, 4.0]
    """
    if groups % old_groups:
        raise ModelError(f"{old_groups} groups cannot become {groups}: blocks would have to grow together")
    finer = groups // old_groups
    blocks = weight.unflatten(0, (groups, -1)).unflatten(2, (finer, -1))  # (G, out, finer, in, K)
    return torch.stack([blocks[group, :, group % finer] for group in range(groups)]).flatten(0, 1)


def _reshape(shape: BigfootConfig, config: ConvGroups) -> BigfootConfig:
    groups = groups_per_conv(shape, config.conv_groups)
    with blaming("conv_groups", "bad_groups"):
        reshaped = reshape_config(shape, conv_groups=groups)
    for old, new in zip(shape.groups_of_convs, groups, strict=True):
        if new % old:
            raise _unfit(f"{old} groups cannot become {new}: blocks would have to grow together")
    return reshaped


def check_init(shape: BigfootConfig, config: ConvGroups) -> Iterator[Problem]:
    """Check how the kernels are to be initialized.

    Args:
        shape: of the model.
        config: of the technique.

    Yields:
        A problem if it is unknown, or needs dense kernels of their own where there are none.
    """
    if config.init not in CONV_INITS:
        yield Problem("init", "unknown_word", f"{config.init!r} is none of {', '.join(CONV_INITS)}")
    elif config.init != "slice" and not _is_dense(shape):
        message = f"{config.init} needs dense kernels that are not shared; use slice, or group first"
        yield Problem("init", "not_dense", message)


def _is_dense(shape: BigfootConfig) -> bool:
    return not shape.conv_sharing and set(shape.groups_of_convs) <= {1}


@technique("conv_groups", ConvGroups, _reshape, check_init)
def apply(
    model: BigfootForCTC, config: ConvGroups, batches: Sequence[PaddedAudio] = ()
) -> tuple[BigfootForCTC, Change]:
    """Build a model with grouped convolutions out of the dense ones; all else comes along.

    Args:
        model: left as it is.
        config: how many groups, and their initialization.
        batches: audio, for ``least_squares`` alone.

    Returns:
        The new model in eval mode, and what was kept and dropped.

    Raises:
        UnfitError: groups that do not divide the channels, or that are no multiple of those there are; an unknown
            ``init``, or one that needs audio, or dense kernels of their own, where there are none.
    """
    old_groups, groups = model.config.groups_of_convs, groups_per_conv(model.config, config.conv_groups)
    shape = reshape_config(model.config, conv_groups=groups)
    if config.init == "least_squares":
        require_audio(batches, "init", "least_squares")
    source = order_channels(model, groups) if config.init == "permute" else model
    student, state = BigfootForCTC(shape), plain_state(source)
    before = after = 0
    for layer, (old, new) in enumerate(zip(old_groups, groups, strict=True)):
        name = f"encoder.feature_extractor.conv_layers.{layer}.conv.weight"
        before += state[name].numel()
        state[name] = slice_groups(state[name], old, new)
        after += state[name].numel()
    load_plain_state(student, state)
    if config.init == "least_squares":
        fit_kernels_(student, model, batches)
    kept = [_describe(model, source, groups, config.init), "everything outside the convolutions"]
    return student.eval(), Change("conv_groups", kept, [f"{before - after:,} of {before:,} convolution weights"])


def _describe(model: BigfootForCTC, ordered: BigfootForCTC, groups: list[int], init: str) -> str:
    what = f"block diagonals of the convolutions in {groups} groups"
    if set(model.config.groups_of_convs) != {1}:
        return what
    shares = []
    for each in (model, ordered):
        energies = kernel_energies(each)
        shares.append(kept_energy(energies, [torch.arange(len(energy)) for energy in energies], groups))
    if init == "permute":
        return f"{what}, {shares[1]:.0%} of their energy ({shares[0]:.0%} before the channels were put in order)"
    return what + (", fitted on audio" if init == "least_squares" else f", {shares[0]:.0%} of their energy")


@torch.no_grad()
def fit_kernels_(
    student: BigfootForCTC, teacher: BigfootForCTC, batches: Sequence[PaddedAudio], kept: Sequence[Tensor] | None = None
) -> tuple[list[Tensor], list[Tensor]]:
    """Fit the student's convolutions, first to last, to the teacher's outputs.

    A layer's inputs are the student's own, of the layers already fitted, so that it also makes up for what those lost.
    Biases, norms and the first layer, which has no groups, stay as they are.

    Args:
        student: changed in place.
        teacher: left as it is.
        batches: held in memory as features: 60 s of audio take 0.4 GB a model at 512 channels.
        kept: which of the teacher's channels the student has, layer by layer; None where it has all.

    Returns:
        The last layer's features of student and teacher, (B, C, T) a batch.
    """
    own, lengths = first_inputs(batches)
    targets = list(own)
    layers = zip(student.speech_encoder.feature_encoder, teacher.speech_encoder.feature_encoder, strict=True)
    for index, (layer, original) in enumerate(layers):
        lengths = [layer.count_frames(length) for length in lengths]
        if index > 0:
            wanted = (without_bias(original, x) for x in targets)
            if kept is not None:
                channels = kept[index]
                wanted = (x[:, channels] for x in wanted)
            equations = gather_equations(zip(own, wanted, lengths, strict=True), layer)
            start = kernel_to_matrix(layer.conv.weight, layer.conv.groups)
            layer.conv.weight.copy_(matrix_to_kernel(equations.solve(start), layer.conv.kernel_size[0]))
        own = [layer(x, length) for x, length in zip(own, lengths, strict=True)]
        targets = [original(x, length) for x, length in zip(targets, lengths, strict=True)]
    return own, targets


@torch.no_grad()
def fade_outside_blocks_(model: BigfootForCTC, groups: Sequence[int], factor: float) -> None:
    """Scale down what grouped convolutions cannot hold, on the way from dense kernels to grouped ones.

    Args:
        model: with dense kernels; changed in place.
        groups: of each layer, to which it is on its way.
        factor: 0 takes everything outside the diagonal blocks away, 1 nothing.
    """
    owners = model.config.kernel_owners
    for index, (layer, count) in enumerate(zip(model.speech_encoder.feature_encoder, groups, strict=True)):
        if owners[index] != index:
            continue  # a shared kernel fades once
        blocks = layer.conv.weight.unflatten(0, (count, -1)).unflatten(2, (count, -1))  # (G, out, G, in, K)
        outside = ~torch.eye(count, dtype=torch.bool, device=blocks.device)[:, None, :, None, None]
        blocks.copy_(torch.where(outside, blocks * factor, blocks))
