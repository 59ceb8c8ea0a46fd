"""Handles of a runtime, opened when they are first wanted, once in each process."""

from __future__ import annotations

import ctypes
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
                if _is_forked:
                    _keep_open(self._handles[threads])
            return self._handles[threads]

    @property
    def is_open(self) -> bool:
        """Whether there are any."""
        return bool(self._handles)

    def forget_parent(self) -> None:
        """Start anew in a forked child."""
        # Closing one of the parent's would wait for its threads too, at the child's exit at the latest.
        for handle in self._handles.values():
            _keep_open(handle)
        # A thread of the parent may have held the lock.
        self._handles, self._lock = {}, Lock()


_ALL: WeakSet[OpenedByThreads[Any]] = WeakSet()
_is_forked = False
"""Whether a runtime computed in a process that this one was forked from: what it shares among sessions is as it was."""


def _keep_open(handle: Any) -> None:  # noqa: ANN401 - of any runtime
    """Never close a handle: a reference that nothing gives back.

    In a forked child, closing its own may wait forever too: OpenVINO leaves the observers of its thread pool, which may
    have been in use by a thread of the parent at the fork.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(handle))


def _forget_parents() -> None:
    global _is_forked
    if not any(opened.is_open for opened in _ALL):
        return
    _is_forked = True
    for opened in list(_ALL):
        opened.forget_parent()
    _leave_runtimes_as_they_are()


def _leave_runtimes_as_they_are() -> None:
    """End this forked child without the runtimes' own clean-up, which joins threads that only the parent has.

    ``on_exit`` of glibc hands on the exit code. What it leaves out is what ``os._exit`` does, by which children of
    ``multiprocessing`` end anyway; Python's own clean-up comes before.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):
        libc.on_exit(libc._exit, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents)
