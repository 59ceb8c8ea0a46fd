"""Channels of the convolutions in the order in which groups would keep the most; the outputs stay the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bigfoot.compress.change import Change
from bigfoot.compress.channel_order import order_channels
from bigfoot.compress.conv_groups import ConvGroups, check_init, groups_per_conv
from bigfoot.compress.registry import technique
from bigfoot.config import Problem
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC


@dataclass(frozen=True)
class ConvOrder:
    """For how many groups the channels are ordered; kernels stay dense.

    Args:
        conv_groups: as in ``ConvGroups``; they can be made later, or grow while the model is trained.
    """

    conv_groups: int | Sequence[int]


def _check(shape: BigfootConfig, config: ConvOrder) -> Iterator[Problem]:
    groups_per_conv(shape, config.conv_groups)
    for problem in check_init(shape, ConvGroups(config.conv_groups, "permute")):
        yield Problem("", problem.code, problem.message)


@technique("conv_order", ConvOrder, check=_check)
def apply(model: BigfootForCTC, config: ConvOrder, audio: Sequence[object] = ()) -> tuple[BigfootForCTC, Change]:
    """Put the channels of dense convolutions into another order.

    Args:
        model: left as it is.
        config: for how many groups.
        audio: not read.

    Returns:
        A model in eval mode with equal outputs, and what was kept.

    Raises:
        UnfitError: kernels that are grouped or shared already.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> apply(load_model("tiny_teacher").model, ConvOrder(2))[1].step
        'conv_order'
    """
    groups = groups_per_conv(model.config, config.conv_groups)
    kept = [f"all weights, channels in their order for {groups} groups"]
    return order_channels(model, groups), Change("conv_order", kept)
