"""Whether freed memory goes back to the system at once."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Parameters of ``mallopt`` in glibc's ``malloc.h``."""


def keep_freed_memory() -> bool:
    """Let this process keep what it frees for what it allocates next.

    glibc maps every large block anew and unmaps it when it is freed, and the system clears each page again when it is
    touched. The tensors of a training step are such blocks: on a CPU a fifth of the step goes into clearing pages. The
    process's size then stays at its peak, which a training reaches again in the next step anyway.

    Returns:
        Whether the C library knows how; elsewhere nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    return tune is not None and bool(tune(_MMAP_MAX, 0)) and bool(tune(_TRIM_THRESHOLD, -1))
