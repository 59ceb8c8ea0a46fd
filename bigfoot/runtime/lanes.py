"""Several passes at once, results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Items a lane, so that one that is done early does not wait for the one whose result is wanted first.
_AHEAD = 8


def map_in_lanes(function: Callable[[Item], Result], items: Iterable[Item], lanes: int) -> Iterator[Result]:
    """Apply a function to items, some at a time; no more than a few a lane are taken up ahead of what was given back.

    Args:
        function: that lets other threads run while it computes, as ONNX Runtime does.
        items: to apply it to.
        lanes: how many at a time; with 1 there is no other thread.

    Yields:
        The results, in the order of the items.

    Examples:
        >>> list(map_in_lanes(abs, [-3, -1, -2], lanes=2))
        [3, 1, 2]
    """
    if lanes == 1:
        yield from map(function, items)
        return
    rest = iter(items)
    with ThreadPoolExecutor(lanes, thread_name_prefix="bigfoot") as pool:
        ahead: deque[Future[Result]] = deque(pool.submit(function, item) for item in islice(rest, _AHEAD * lanes))
        try:
            while ahead:
                yield ahead.popleft().result()
                ahead.extend(pool.submit(function, item) for item in islice(rest, 1))
        finally:
            # Nobody waits for them any more, where the caller stopped or one of them failed.
            for future in ahead:
                future.cancel()


def count_processors() -> int:
    """Those this process may use: runtimes themselves count the machine's, also where a container lends fewer."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
