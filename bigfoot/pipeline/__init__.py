"""The list of steps from a teacher to a report: what is done, what is stale, what comes next.

Settings are read without loading what runs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bigfoot.pipeline.run import STAGES, run_pipeline

__all__ = ["STAGES", "run_pipeline"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'bigfoot.pipeline' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(importlib.import_module("bigfoot.pipeline.run"), name)
