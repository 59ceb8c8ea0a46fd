"""Follow a training from outside: a search ends it where its scores on dev promise nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Observer = Callable[[str, int, float | None], None]
"""Called with the name of the step, optimizer steps done and the error on dev; an exception ends the training."""

_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


@contextmanager
def observed_by(observer: Observer) -> Iterator[None]:
    """Call an observer after each evaluation on dev of the trainings within the block.

    Args:
        observer: of this thread's trainings.

    Yields:
        Nothing.

    Examples:
        >>> with observed_by(lambda name, step, error: print(name, step, error)):
        ...     report_dev("distill", 100, 0.25)
        distill 100 0.25
    """
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def report_dev(name: str, step: int, error: float | None) -> None:
    """Call the observer, if there is one.

    Args:
        name: of the training, such as ``distill``.
        step: optimizer steps done.
        error: on dev, the lower the better; None where dev has no score.
    """
    observer = _observer.get()
    if observer is not None:
        observer(name, step, error)
