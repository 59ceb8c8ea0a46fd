"""Load the kinds of cut; their names alone, which settings are checked against, need no torch."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from bigfoot.compress.shrink.cut_kind import CutKind
from bigfoot.compress.shrink.kinds import KINDS


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
