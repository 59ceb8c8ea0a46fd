"""The list of steps from a teacher to a report: what is done, what is stale, what comes next.

Settings are read without loading what runs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bigfoot.pipeline.registry import list_stages
    from bigfoot.pipeline.run import run_pipeline

_HOMES = {"list_stages": "bigfoot.pipeline.registry", "run_pipeline": "bigfoot.pipeline.run"}
__all__ = ["list_stages", "run_pipeline"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'bigfoot.pipeline' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)
