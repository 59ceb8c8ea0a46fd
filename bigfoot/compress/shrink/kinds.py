"""The kinds of cut by name. A new one is one file here, and one line below."""

from __future__ import annotations

from collections.abc import Mapping

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
