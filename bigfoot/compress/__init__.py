"""Compression: techniques by name, and ``bigfoot.compress(model, [Depth(4), ...])``, which applies them.

Importing it loads nothing heavy; the names below are fetched from their files at first use.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bigfoot.compress.registry import technique
from bigfoot.errors import MissingExtraError

if TYPE_CHECKING:
    from bigfoot.compress.adapters import DropAdapters
    from bigfoot.compress.chain import compress
    from bigfoot.compress.change import Change
    from bigfoot.compress.conv_groups import ConvGroups
    from bigfoot.compress.conv_order import ConvOrder
    from bigfoot.compress.conv_sharing import ConvSharing
    from bigfoot.compress.decoder_depth import DecoderDepth
    from bigfoot.compress.depth import Depth
    from bigfoot.compress.narrow import Narrow
    from bigfoot.compress.reshape_to import Reshape
    from bigfoot.compress.settings import LowRank, Prune, Quantize, Shrink, Streaming

__all__ = [
    "Change",
    "ConvGroups",
    "ConvOrder",
    "ConvSharing",
    "DecoderDepth",
    "Depth",
    "DropAdapters",
    "LowRank",
    "Narrow",
    "Prune",
    "Quantize",
    "Reshape",
    "Shrink",
    "Streaming",
    "compress",
    "technique",
]

_HOMES = {
    "Change": "change", "ConvGroups": "conv_groups", "ConvOrder": "conv_order", "ConvSharing": "conv_sharing",
    "DecoderDepth": "decoder_depth", "Depth": "depth", "DropAdapters": "adapters", "LowRank": "settings",
    "Narrow": "narrow", "Prune": "settings", "Quantize": "settings", "Reshape": "reshape_to", "Shrink": "settings",
    "Streaming": "settings", "compress": "chain",
}  # fmt: skip


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever stands behind the name
    if name not in _HOMES:
        raise AttributeError(f"module 'bigfoot.compress' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"bigfoot.compress.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        raise MissingExtraError.of_import(error) or error from None


class _Callable(ModuleType):
    """``bigfoot.compress`` is this room and its main function at once."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - see ``compress``
        return __getattr__("compress")(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
