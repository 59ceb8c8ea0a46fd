"""A cut: what one kind of compression would do to one place of a model, and how it is tried before it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from bigfoot.models.configuration import BigfootConfig

BEFORE_LAYERS = -1
"""First layer of a cut of the convolutions."""


@dataclass(frozen=True)
class Cut:
    """One cut of one place.

    Args:
        kind: name of its ``CutKind``.
        place: of a place one cut is made at a time, of whatever kind.
        amount: what stays, for people.
        shape: of the model after this cut alone.
        tensors: weights, by their names in ``plain_state``, with which the model that is not yet cut gives what the
            cut one will give.
        first_layer: the first layer that gives something else; ``BEFORE_LAYERS`` where convolutions do.
        skipped: layers that are passed by.
        excluded: places of which no cut is made in the same round; None where it is made alone.
        details: what ``CutKind.carry_out`` reads.
    """

    kind: str
    place: str
    amount: str
    shape: BigfootConfig
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    first_layer: int = BEFORE_LAYERS
    skipped: frozenset[int] = frozenset()
    excluded: frozenset[str] | None = frozenset()
    details: Any = None
