"""Sizes of files as people write them."""

from __future__ import annotations

import re

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", re.IGNORECASE)


def parse_bytes(text: str) -> int | None:
    """Return the bytes of a size; None where it is none, or 0.

    Args:
        text: a number with ``kB``, ``MB``, ``GB`` (thousands), ``KiB``, ``MiB``, ``GiB``, or without a unit.

    Examples:
        >>> parse_bytes("7MB"), parse_bytes("1.5 KiB"), parse_bytes("seven")
        (7000000, 1536, None)
    """
    found = _SIZE.fullmatch(text)
    if found is None or found[2].lower() not in _UNITS:
        return None
    return int(float(found[1]) * _UNITS[found[2].lower()]) or None
