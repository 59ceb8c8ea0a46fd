"""The kinds of cut by name. A new one is one file here, and one line below."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # settings are checked without torch
    from bigfoot.compress.shrink.cut import CutKind

KINDS: Mapping[str, str] = {
    "heads": "units:HEADS",
    "feed_forward": "units:FEED_FORWARD",
    "conv": "units:CONV",
    "clusters": "clusters:CLUSTERS",
    "low_rank": "low_rank:LOW_RANK",
    "layers": "layers:LAYERS",
}
"""Name in settings -> module of this folder and the ``CutKind`` in it; carried out in this order."""
DEFAULT = ("heads", "feed_forward", "conv")
"""Kinds that are tried where nothing else is asked for."""


def load_kinds(names: Sequence[str]) -> list[CutKind]:
    """Return kinds of cut in the order in which they are carried out.

    Args:
        names: of ``KINDS``.

    Examples:
        >>> [kind.name for kind in load_kinds(["conv", "heads"])]
        ['heads', 'conv']
    """
    return [load_kind(name) for name in KINDS if name in names]


def load_kind(name: str) -> CutKind:
    """Return a kind of cut.

    Args:
        name: of ``KINDS``.
    """
    module, _, attribute = KINDS[name].partition(":")
    found: CutKind = getattr(importlib.import_module(f"bigfoot.compress.shrink.{module}"), attribute)
    return found
