"""Which units stay: scores are ranked, counts rounded, and a ratio found that meets a target."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import lcm

import torch
from torch import Tensor

from bigfoot.compress.change import Change
from bigfoot.compress.front_end import require_convolutions
from bigfoot.compress.importance import Audio, Loss, compute_importance, mean_ctc
from bigfoot.compress.registry import technique
from bigfoot.compress.settings import PRUNABLE, Prune
from bigfoot.compress.surgery import prune_units, pruned_shape
from bigfoot.compress.units import Place, Units, find_units
from bigfoot.config import Problem
from bigfoot.errors import UnfitError
from bigfoot.measure.size import count_macs as macs_by_module
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC

_WORDS = {
    "heads": "heads", "feed_forward": "feed-forward units", "conv": "convolution channels",
    "conv_module": "channels of convolutions in layers", "width": "channels of the width",
}  # fmt: skip
_HALVINGS = 14
"""Of the interval of ratios: fine enough to distinguish single units of a thousand."""

Count = Callable[[BigfootForCTC], int]
"""Counts a model's multiply-accumulates; the model has shapes but no weights (PyTorch's meta device)."""


def _check(shape: BigfootConfig, config: Prune) -> Iterator[Problem]:
    try:
        # The settings themselves report parts of other names.
        prunable_units(shape, [part for part in config.parts if part in PRUNABLE])
    except UnfitError as error:
        yield from error.problems
    if "width" in config.parts and shape.decoder is not None:
        message = "width cannot be cut under a decoder, which reads frames of that width; leave it out"
        yield Problem("parts", "width_under_decoder", message)


@technique("prune", Prune, check=_check)
def apply(
    model: BigfootForCTC,
    config: Prune,
    batches: Sequence[Audio] = (),
    *,
    loss: Loss = mean_ctc,
    count_macs: Count | None = None,
) -> tuple[BigfootForCTC, Change]:
    """Remove the least important units.

    Args:
        model: left as it is.
        config: what to cut, how to judge, how much.
        batches: audio, for the importances ``taylor`` and ``activation``.
        loss: for ``taylor``.
        count_macs: for the target ``macs``; None counts as ``bigfoot.measure.size`` does.

    Returns:
        The smaller model in eval mode, and what was kept and dropped.

    Raises:
        UnfitError: nothing can be cut, a target that cannot be met, or what an importance needs is missing.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> config = Prune(parts=["heads"], importance="l2", ratio=0.5, scope="layer")
        >>> apply(load_model("tiny_teacher").model, config)[0].config.heads_of_layers[:3]
        [2, 2, 2]
    """
    units = prunable_units(model.config, config.parts)
    scores = compute_importance(model, config.importance, batches, loss)
    keep, how = _decide(model.config, config, units, {place: scores[place] for place in units}, count_macs)
    pruned = prune_units(model, keep)
    return pruned, _describe(model.config, config, keep, units, how)


def prunable_units(config: BigfootConfig, parts: Sequence[str]) -> dict[Place, Units]:
    """Find the prunable units of some parts; convolutions that share a kernel, and those before them, stay whole.

    Args:
        config: the shape.
        parts: kinds of units.

    Returns:
        Units by place.

    Raises:
        UnfitError: there are none of a part, such as the width where it cannot be cut.
    """
    if "width" in parts and config.has_position_bias:
        message = "width cannot be cut where each head's gate reads its own share of it (WavLM)"
        raise UnfitError(Problem("parts", "not_prunable", message))
    tied = {near for members in config.conv_sharing or [] for layer in members for near in (layer - 1, layer)}
    found = {
        place: units
        for place, units in find_units(config).items()
        if place.part in parts and not (place.kind == "conv" and place.layer in tied)
    }
    if "conv" in parts:
        require_convolutions(config, "parts", "prune")
    if missing := [part for part in parts if not any(place.part == part for place in found)]:
        message = f"there is nothing to cut of {', '.join(missing)} in this shape; leave it out"
        raise UnfitError(Problem("parts", "not_prunable", message))
    return found


def choose_units(
    scores: Mapping[Place, Tensor], units: Mapping[Place, Units], config: Prune, strength: float = 1.0
) -> dict[Place, list[int]]:
    """Choose the units that stay.

    A layer's scores are first divided by their mean, but for ``taylor``'s, which are in units of the loss everywhere.

    Args:
        scores: (units,) by place.
        units: the same places.
        config: ratios, scope, rounding.
        strength: multiplies the ratios, 0 to 1 over the largest.

    Returns:
        Ascending indices by place.

    Examples:
        >>> place, score = Place("feed_forward", 0), torch.tensor([3.0, 1.0, 2.0, 4.0])
        >>> choose_units({place: score}, {place: Units(4, ())}, Prune(ratio=0.5, multiple_of=1))
        {Place(kind='feed_forward', layer=0): [0, 3]}
    """
    ratios = {kind: min(1.0, strength * _ratio(config, kind)) for kind in {place.part for place in units}}
    pools: dict[object, list[Place]] = {}
    for place in units:
        pool: object = {"layer": place, "part": place.part, "global": None}[config.scope]
        pools.setdefault(pool, []).append(place)
    keep = {}
    for members in pools.values():
        wanted = _survivors([_comparable(scores[place], config) for place in members], ratios[members[0].part])
        for place, count in zip(members, wanted, strict=True):
            keep[place] = _best(scores[place], _round(count, place, units[place], config), units[place].blocks)
    return keep


def _ratio(config: Prune, kind: str) -> float:
    return config.part_ratios.get(kind, config.ratio)


def _comparable(scores: Tensor, config: Prune) -> Tensor:
    return scores if config.importance == "taylor" else scores / scores.mean().clamp(min=1e-12)


def _survivors(scores: Sequence[Tensor], ratio: float) -> list[int]:
    """Return how many units of each member of a pool are among the best of all."""
    owners = torch.cat([torch.full((len(values),), index) for index, values in enumerate(scores)])
    order = torch.cat([values.cpu() for values in scores]).argsort(descending=True, stable=True)
    stay = owners[order[: len(owners) - round(ratio * len(owners))]]
    return torch.bincount(stay, minlength=len(scores)).tolist()  # type: ignore[no-any-return]


def _round(count: int, place: Place, units: Units, config: Prune) -> int:
    """Return the nearest number of units that may stay: all, or a multiple that leaves enough."""
    step = lcm(units.multiple, units.blocks, 1 if place.kind == "heads" else config.multiple_of)
    least = max(1, math.ceil(config.min_left * units.count))
    allowed = [number for number in range(step, units.count, step) if number >= least]
    return min([*allowed, units.count], key=lambda number: (abs(number - count), -number))


def _best(scores: Tensor, count: int, blocks: int) -> list[int]:
    """Return the best units, equally many of each of so many equal runs."""
    rows = scores.view(blocks, -1)
    best = rows.argsort(dim=1, descending=True, stable=True)[:, : count // blocks].sort(dim=1).values
    starts = torch.arange(blocks, device=best.device)[:, None] * rows.shape[1]
    return (best + starts).flatten().tolist()  # type: ignore[no-any-return]


def _decide(
    shape: BigfootConfig, config: Prune, units: Mapping[Place, Units], scores: Mapping[Place, Tensor],
    count_macs: Count | None,
) -> tuple[dict[Place, list[int]], str]:  # fmt: skip
    """Return the units that stay, and a description of how the target was met."""
    if config.target == "ratio":
        return choose_units(scores, units, config), ""
    count = _count_params if config.target == "params" else count_macs or _count_macs
    largest = max(_ratio(config, place.part) for place in units)
    if not largest:
        message = f"every ratio is 0, so nothing may be cut for target {config.target}; set it above 0"
        raise UnfitError(Problem("ratio", "nothing_to_cut", message))
    before = count(_outline(shape))

    def left(strength: float) -> float:
        return count(_outline(pruned_shape(shape, choose_units(scores, units, config, strength)))) / before

    low, high = 0.0, 1.0 / largest
    reached = left(high)
    if reached > config.keep:
        message = (
            f"{config.keep:.1%} of {config.target} cannot be reached by cutting {', '.join(config.parts)}: "
            f"{reached:.1%} stays when all is cut that may be; raise keep, lower min_left or add parts"
        )
        raise UnfitError(Problem("keep", "out_of_reach", message))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        share = left(middle)
        if share <= config.keep:
            high, reached = middle, share
        else:
            low = middle
    how = f"{reached:.1%} of its {config.target} ({config.keep:.1%} asked for)"
    return choose_units(scores, units, config, high), how


def _outline(shape: BigfootConfig) -> BigfootForCTC:
    with torch.device("meta"):
        return BigfootForCTC(shape)


def _count_macs(model: BigfootForCTC) -> int:
    return macs_by_module(model)[model]


def _count_params(model: BigfootForCTC) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _describe(
    shape: BigfootConfig, config: Prune, keep: Mapping[Place, list[int]], units: Mapping[Place, Units], how: str
) -> Change:
    kept, dropped = [how] if how else [], []
    for kind in config.parts:
        counts = [(len(keep[place]), found.count) for place, found in units.items() if place.part == kind]
        stay, there = (sum(numbers) for numbers in zip(*counts, strict=True)) if counts else (0, 0)
        by_layer = f" ({', '.join(str(number) for number, _ in counts)} by layer)" if kind != "width" else ""
        kept.append(f"{stay:,} of {there:,} {_WORDS[kind]}{by_layer}")
        if there > stay:
            dropped.append(f"{there - stay:,} {_WORDS[kind]} of least importance ({config.importance})")
    if "conv" in config.parts and shape.conv_sharing:
        kept.append(f"the convolutions around the shared kernels {shape.conv_sharing}")
    return Change("prune", kept, dropped)
