"""Heads, feed-forward units and channels of convolutions, removed by the optimal brain surgeon of what reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import lcm

import torch
from torch import Tensor

from bigfoot.compress.shrink.cut import BEFORE_LAYERS, Cut
from bigfoot.compress.shrink.cut_kind import CutKind
from bigfoot.compress.shrink.elimination import Elimination
from bigfoot.compress.shrink.survey import Survey
from bigfoot.compress.surgery import prune_units, pruned_shape, remove_blocks, without_blocks
from bigfoot.compress.units import Place, Units, find_blocks, find_units
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC

_READERS = {"heads": ("out_proj", "attention.out_proj"), "feed_forward": ("output_dense", "feed_forward.output_dense")}
"""Of each kind the key of ``linear_shapes`` and the name in a layer of what reads the units."""
_BLOCKS = {"heads": "attention_block", "feed_forward": "feed_forward_block"}
_SHARES = (1 / 8, 1 / 4, 3 / 8, 1 / 2)
"""Of the units that the whole model has there, which go at once."""


def _propose(survey: Survey, kind: str) -> Iterator[Cut]:
    blocks = find_blocks(survey.config)
    for place, units in find_units(survey.config).items():
        if place.kind != kind or (kind == "conv" and not _can_cut_channels(survey.config)):
            continue
        name, gram, bias = _reader(survey, place)
        weight = survey.state[f"{name}.weight"]
        matrix = weight.flatten(1)
        if bias is not None:
            matrix = torch.cat([matrix, bias[:, None]], 1)
        size = weight.flatten(1).shape[1] // units.count
        path = Elimination(gram, matrix, units.count, size)
        empty = Place(_BLOCKS[kind], place.layer) in blocks if kind in _BLOCKS else False
        for left in _sizes(units, _whole_count(survey, place), place.kind, empty):
            path.remove(len(path.left) - left)
            yield _cut(survey, place, units, path, name)


def _sizes(units: Units, whole: int, kind: str, empty: bool) -> list[int]:
    """Numbers of units that stay, falling: multiples of 8 but for heads."""
    step = lcm(units.multiple, units.blocks, 1 if kind == "heads" else min(8, units.count))
    wanted = (units.count - max(1, round(share * whole)) for share in _SHARES)
    least = 0 if empty else step
    found = {max(0, count // step * step) for count in wanted if count >= least or (empty and units.count <= step * 2)}
    return sorted((count for count in found if least <= count < units.count), reverse=True)


def _whole_count(survey: Survey, place: Place) -> int:
    if place.kind == "conv":
        return list(survey.whole.config.conv_dim)[place.layer]
    config = survey.whole.config
    return max(config.heads_of_layers if place.kind == "heads" else config.widths_of_layers)


def _can_cut_channels(config: BigfootConfig) -> bool:
    return set(config.groups_of_convs) == {1} and not config.conv_sharing


def _reader(survey: Survey, place: Place) -> tuple[str, Tensor, Tensor | None]:
    """Plain name, outer products of the inputs and bias of what reads a place's units."""
    if place.kind == "conv":
        last = place.layer + 1 == survey.config.num_conv_layers
        name = f"encoder.feature_extractor.conv_layers.{place.layer + 1}.conv"
        name = "encoder.feature_projection.projection" if last else name
        return name, survey.conv_gram(place.layer + 1), survey.state[f"{name}.bias"] if last else None
    key, path = _READERS[place.kind]
    name = f"encoder.encoder.layers.{place.layer}.{path}"
    return name, survey.grams[(place.layer, key)], survey.state[f"{name}.bias"]


def _cut(survey: Survey, place: Place, units: Units, path: Elimination, name: str) -> Cut:
    weight, keep = survey.state[f"{name}.weight"], path.left
    fitted = path.weight.to(weight)
    tensors = {f"{name}.weight": fitted[:, : units.count * path.size].reshape(weight.shape)}
    if fitted.shape[1] > units.count * path.size:
        tensors[f"{name}.bias"] = fitted[:, -1]
    return unit_cut(survey.config, place, keep, units.count, tensors)


def unit_cut(
    config: BigfootConfig, place: Place, keep: Sequence[int], count: int, tensors: dict[str, Tensor], kind: str = ""
) -> Cut:
    """Describe a cut that leaves some units.

    Args:
        config: the shape before it.
        place: of the units.
        keep: those that stay, ascending; none where the block goes.
        count: units there are.
        tensors: see ``Cut``.
        kind: name of the ``CutKind``; that of the place by default.
    """
    if keep:
        shape = pruned_shape(config, {place: keep})
    else:
        shape = without_blocks(config, [Place(_BLOCKS[place.kind], place.layer)])
    first = BEFORE_LAYERS if place.kind == "conv" else place.layer
    amount = f"{len(keep):,} of {count:,}"
    return Cut(kind or place.kind, str(place), amount, shape, tensors, first, details=(place, list(keep)))


def carry_out(model: BigfootForCTC, cuts: Sequence[Cut]) -> BigfootForCTC:
    """Remove the units of several cuts at once.

    Args:
        model: with the weights of ``Cut.tensors``.
        cuts: of units.
    """
    pairs = [cut.details for cut in cuts]
    keep = {place: kept for place, kept in pairs if kept}
    if keep:
        model = prune_units(model, keep)
    gone = [Place(_BLOCKS[place.kind], place.layer) for place, kept in pairs if not kept]
    return remove_blocks(model, gone) if gone else model


HEADS = CutKind("heads", "attention heads", lambda survey: _propose(survey, "heads"), carry_out)
FEED_FORWARD = CutKind("feed_forward", "feed-forward units", lambda survey: _propose(survey, "feed_forward"), carry_out)
CONV = CutKind("conv", "convolution channels", lambda survey: _propose(survey, "conv"), carry_out)
