"""What was computed of files, for as long as a process lives: folds of a corpus read the same files again and again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Generic, TypeVar

from bigfoot.storage.digests import Stamp

Found = TypeVar("Found")
_MOST = 100_000


class FileMemory(Generic[Found]):
    """Values of files whose size and times are unchanged.

    Args:
        most: values that are kept; further ones are computed each time.

    Examples:
        >>> FileMemory().get("nothing", "size", lambda: 0)
        0
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most, self._kept = most, dict[tuple[str, Hashable], tuple[Stamp, Found]]()

    def get(self, path: str | Path, what: Hashable, compute: Callable[[], Found]) -> Found:
        """Return a value, computed where it is not known, the file has changed or is no regular one.

        Args:
            path: of the file.
            what: of it; each has a value of its own.
            compute: reads the file.
        """
        key, before = (os.path.abspath(path), what), Stamp.of(path)
        if before is not None and key in self._kept and self._kept[key][0] == before:
            return self._kept[key][1]
        now, value = time.time_ns(), compute()
        unchanged = before is not None and before.is_old(now) and Stamp.of(path) == before
        if before is not None and unchanged and (key in self._kept or len(self._kept) < self._most):
            self._kept[key] = (before, value)
        return value
