"""Handles of a runtime, opened when they are first wanted, once in each process."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Lock
from typing import Any, Generic, TypeVar
from weakref import WeakSet

Handle = TypeVar("Handle")


class OpenedByThreads(Generic[Handle]):
    """Sessions by their number of threads; a forked child opens its own.

    The threads of a session do not survive a fork: in the child it would wait for them forever.

    Args:
        open_handle: opens one, given the number of threads.

    Examples:
        >>> OpenedByThreads(str).get(2)
        '2'
    """

    def __init__(self, open_handle: Callable[[int], Handle]) -> None:
        self._open = open_handle
        self._handles: dict[int, Handle] = {}
        self._of_parents: list[dict[int, Handle]] = []
        self._lock = Lock()
        _ALL.add(self)

    def get(self, threads: int) -> Handle:
        """Return the one for so many threads.

        Args:
            threads: 1 or more.
        """
        with self._lock:
            if threads not in self._handles:
                self._handles[threads] = self._open(threads)
            return self._handles[threads]

    def forget_parent(self) -> None:
        """Start anew in a forked child; the parent's are kept, since closing one waits for its threads too."""
        self._of_parents.append(self._handles)
        # A thread of the parent may have held the lock.
        self._handles, self._lock = {}, Lock()


_ALL: WeakSet[OpenedByThreads[Any]] = WeakSet()


def _forget_parents() -> None:
    for opened in list(_ALL):
        opened.forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents)
