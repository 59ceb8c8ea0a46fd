"""bigfoot makes a wav2vec2-like speech model small and fast, proves what it cost, and hands over a model that runs.

Importing the package loads nothing heavy; the names below are fetched from their rooms at first use.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Config": "bigfoot.config",
    "load_config": "bigfoot.config",
}
"""Where a name offered by the package itself lives."""

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 - strings all of them, only not written out twice.


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Fetch a public name from its room at first use.

    Raises:
        AttributeError: the package offers no such name.
    """
    if name not in _HOMES:
        raise AttributeError(f"module 'bigfoot' has no attribute {name!r}; it offers {', '.join(_HOMES)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
