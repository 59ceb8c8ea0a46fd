"""Which subnets a supernet has: choices of depth, width, heads, units, channels and bits, and draws from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import lcm

import numpy as np

from bigfoot.compress.prune import prunable_units
from bigfoot.compress.units import Place, Units
from bigfoot.config import Problem
from bigfoot.errors import UnfitError
from bigfoot.models.configuration import BigfootConfig

PRECISION_OF_BITS = {32: None, 8: "int8"}
"""Bits of weights in a subnet, with the precision of the folder that they are written in; None for fp32."""
_STEPS = {"feed_forward": 8, "conv": 8, "conv_module": 8}


@dataclass(frozen=True)
class Subnet:
    """One choice of each.

    Args:
        layers: of the supernet that stay, ascending.
        counts: units of each elastic place of the supernet; of layers that are left out they mean nothing.
        bits: of its weights.
    """

    layers: tuple[int, ...]
    counts: tuple[tuple[Place, int], ...]
    bits: int = 32

    @cached_property
    def units(self) -> dict[Place, int]:
        """Units by place of the supernet."""
        return dict(self.counts)

    @property
    def key(self) -> str:
        """A short text, other for any other subnet."""
        layers, units = ".".join(map(str, self.layers)), ".".join(str(count) for _, count in self.counts)
        return f"{layers}-{units}-{self.bits}"

    def describe(self) -> str:
        """Describe it in a few words.

        Examples:
            >>> Subnet((0, 3), ((Place("width"), 64), (Place("heads", 0), 2), (Place("heads", 3), 1))).describe()
            '2 layers, width 64, heads 2/1'
        """
        kinds: dict[str, list[int]] = {}
        for place, count in self.counts:
            kinds.setdefault(place.kind, []).append(count)
        words = [f"{len(self.layers)} layers", *([f"width {kinds['width'][0]}"] if "width" in kinds else [])]
        lists = {kind: counts for kind, counts in kinds.items() if kind != "width"}
        words += [f"{kind.replace('_', '-')} {'/'.join(map(str, counts))}" for kind, counts in lists.items()]
        return ", ".join(words + [f"{self.bits} bits"] * (self.bits != 32))


def nest_layers(num_layers: int) -> list[int]:
    """Order layers so that each prefix is spread over the depth: the last, the first, then where the gap is widest.

    Subnets of fewer layers are then within those of more, and both ends stay as ``spread`` has it.

    Args:
        num_layers: of the supernet.

    Examples:
        >>> nest_layers(6)
        [5, 0, 2, 3, 1, 4]
    """
    order = [num_layers - 1]
    while len(order) < num_layers:
        left = [layer for layer in range(num_layers) if layer not in order]
        order.append(max(left, key=lambda layer: (*_room(layer, order), -layer)))
    return order


def _room(layer: int, chosen: Sequence[int]) -> tuple[int, int]:
    """Return how far the nearest chosen layer is, and how wide the gap between those on both sides is."""
    below = [layer - other for other in chosen if other < layer]
    above = [other - layer for other in chosen if other > layer]
    nearest = [min(side) for side in (below, above) if side]
    return min(nearest), sum(nearest)


@dataclass(frozen=True)
class Space:
    """All subnets of a supernet.

    Args:
        config: shape of the supernet.
        depths: numbers of layers, ascending.
        choices: numbers of units, ascending, by place; places that are absent stay whole.
        bits: of weights, ascending.
    """

    config: BigfootConfig
    depths: Sequence[int]
    choices: Mapping[Place, Sequence[int]] = field(default_factory=dict)
    bits: Sequence[int] = (32,)

    def build(self, depth: int, counts: Mapping[Place, int], bits: int) -> Subnet:
        """Build a subnet; counts of places whose layer does not stay are left out.

        Args:
            depth: layers.
            counts: units by place, of all places that vary.
            bits: of weights.
        """
        layers = tuple(sorted(nest_layers(self.config.num_hidden_layers)[:depth]))
        stays = {place: counts[place] for place in self.choices if _outside(place) or place.layer in layers}
        return Subnet(layers, tuple(stays.items()), bits)

    @property
    def largest(self) -> Subnet:
        """All of it."""
        return self.build(self.depths[-1], {place: each[-1] for place, each in self.choices.items()}, self.bits[-1])

    @property
    def smallest(self) -> Subnet:
        """The least of everything."""
        return self.build(self.depths[0], {place: each[0] for place, each in self.choices.items()}, self.bits[0])

    @property
    def size(self) -> int:
        """How many there are, an upper bound where layers are left out."""
        product = len(self.depths) * len(self.bits)
        for each in self.choices.values():
            product *= len(each)
        return product

    def draw(self, generator: np.random.Generator) -> Subnet:
        """Draw one: each choice evenly, layer by layer.

        Args:
            generator: of the draw.
        """
        counts = {place: int(generator.choice(list(each))) for place, each in self.choices.items()}
        return self.build(int(generator.choice(list(self.depths))), counts, int(generator.choice(list(self.bits))))

    def mutate(self, subnet: Subnet, rate: float, generator: np.random.Generator) -> Subnet:
        """Draw some of its choices anew.

        Args:
            subnet: of this space.
            rate: share of the choices, in the mean.
            generator: of the draw.
        """
        return self.cross(subnet, self.draw(generator), rate, generator)

    def cross(self, one: Subnet, other: Subnet, rate: float, generator: np.random.Generator) -> Subnet:
        """Take each choice of one of two.

        Args:
            one: of this space.
            other: of this space.
            rate: share of the choices that are the other's, in the mean.
            generator: of the draw.
        """

        def pick(ours: int, theirs: int) -> int:
            return theirs if generator.random() < rate else ours

        largest = {place: each[-1] for place, each in self.choices.items()}
        mine, yours = largest | one.units, largest | other.units
        depth, bits = pick(len(one.layers), len(other.layers)), pick(one.bits, other.bits)
        return self.build(depth, {place: pick(mine[place], yours[place]) for place in self.choices}, bits)


def _outside(place: Place) -> bool:
    """Return whether a place belongs to no transformer layer."""
    return place.kind in ("conv", "width")


def build_space(
    config: BigfootConfig, shares: Mapping[str, Sequence[float]], depth: Sequence[float], bits: Sequence[int]
) -> Space:
    """Turn shares of a shape into its space; the whole is always among them.

    Args:
        config: shape of the supernet.
        shares: of units, 0 to 1, by ``PRUNABLE``; a part whose shares are all 1 stays whole.
        depth: shares of the layers.
        bits: see ``PRECISION_OF_BITS``.

    Returns:
        Counts are rounded to what kernels and groups need; a feed-forward block keeps a multiple of 8, where it can.

    Raises:
        UnfitError: a part cannot vary in this shape.

    Examples:
        >>> space = build_space(BigfootConfig(), {"heads": [0.5], "width": [0.5]}, [0.25], [32])
        >>> space.depths, space.choices[Place("heads", 0)], space.choices[Place("width")]
        ((3, 12), (6, 12), (384, 768))
    """
    if config.decoder is not None or config.task is not None:
        message = "a supernet has a CTC head or none; a decoder or a task head reads frames of one width"
        raise UnfitError(Problem("", "not_elastic", message))
    layers = config.num_hidden_layers
    depths = tuple(sorted({max(1, round(share * layers)) for share in (*depth, 1.0)}))
    if len(depths) > 1 and config.attention_reuse is not None:
        message = "layers that lend attention maps to others cannot be left out; set depth to [1.0]"
        raise UnfitError(Problem("depth", "not_elastic", message))
    parts = [part for part, chosen in shares.items() if any(share != 1 for share in chosen)]
    units = prunable_units(config, parts) if parts else {}
    choices = {place: _round_counts(found, place, shares[place.part]) for place, found in units.items()}
    return Space(config, depths, choices, tuple(sorted(set(bits))))


def _round_counts(units: Units, place: Place, shares: Sequence[float]) -> tuple[int, ...]:
    needed = lcm(units.blocks, units.multiple)
    step = lcm(needed, _STEPS.get(place.part, 1))
    if units.count % step:
        step = needed
    return tuple(sorted({max(step, step * round(share * units.count / step)) for share in (*shares, 1.0)}))
