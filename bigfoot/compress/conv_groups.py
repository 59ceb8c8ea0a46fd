"""Grouped convolutions in the feature encoder, begun as slices of the dense ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor

from bigfoot.compress.change import Change
from bigfoot.errors import ModelError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.reshape import load_plain_state, plain_state, reshape_config


@dataclass(frozen=True)
class ConvGroupsConfig:
    """How many groups.

    Args:
        conv_groups: one number for the convolutions 1 and up (0 has a single input channel), or one for each.
    """

    conv_groups: int | Sequence[int]


def spell_out_groups(config: BigfootConfig, conv_groups: int | Sequence[int]) -> list[int]:
    """One number of groups for each convolution.

    Raises:
        ModelError: a list of another length, or something that is no number.

    Example:
        >>> spell_out_groups(BigfootConfig(), 2)
        [1, 2, 2, 2, 2, 2, 2]
    """
    if _is_whole(conv_groups):
        return [1] + [conv_groups] * (config.num_conv_layers - 1)
    if isinstance(conv_groups, str) or not isinstance(conv_groups, Sequence) or not all(map(_is_whole, conv_groups)):
        raise ModelError(f"conv_groups {conv_groups!r} should be a whole number or a list of them")
    if len(conv_groups) != config.num_conv_layers:
        raise ModelError(f"conv_groups lists {len(conv_groups)} numbers for {config.num_conv_layers} convolutions")
    return list(conv_groups)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def slice_groups(weight: Tensor, old_groups: int, groups: int) -> Tensor:
    """Take from a kernel what a grouped convolution can say of it: its block diagonal.

    Args:
        weight: (C_out, C_in / old_groups, K).
        old_groups: groups that the kernel has.
        groups: groups that it should get, a multiple of ``old_groups``.

    Returns:
        (C_out, C_in / groups, K); group j holds the weights from input block j to output block j.

    Raises:
        ModelError: ``groups`` is no multiple of ``old_groups``.

    Example:
        >>> import torch
        >>> slice_groups(torch.tensor([[1.0, 2.0], [3.0, 4.0]])[..., None], 1, 2).flatten().tolist()
        [1.0, 4.0]
    """
    if groups % old_groups:
        raise ModelError(f"{old_groups} groups cannot become {groups}: blocks would have to grow together")
    finer = groups // old_groups
    blocks = weight.unflatten(0, (groups, -1)).unflatten(2, (finer, -1))  # (G, out, finer, in, K)
    return torch.stack([blocks[group, :, group % finer] for group in range(groups)]).flatten(0, 1)


def apply(model: BigfootForCTC, config: ConvGroupsConfig) -> tuple[BigfootForCTC, Change]:
    """Build a model with grouped convolutions from slices of the dense ones; all else comes along.

    Args:
        model: left as it is.
        config: how many groups.

    Returns:
        The new model in eval mode, and what was kept and dropped.

    Raises:
        ModelError: groups that do not divide the channels, or that are no multiple of those there are.
    """
    old_groups, groups = model.config.groups_of_convs, spell_out_groups(model.config, config.conv_groups)
    student = BigfootForCTC(reshape_config(model.config, conv_groups=groups))
    state = plain_state(model)
    before = after = 0
    for layer, (old, new) in enumerate(zip(old_groups, groups, strict=True)):
        name = f"encoder.feature_extractor.conv_layers.{layer}.conv.weight"
        before += state[name].numel()
        state[name] = slice_groups(state[name], old, new)
        after += state[name].numel()
    load_plain_state(student, state)
    kept = [f"block diagonals of the convolutions in {groups} groups", "everything outside the convolutions"]
    return student.eval(), Change("conv_groups", kept, [f"{before - after:,} of {before:,} convolution weights"])
