"""Warnings that are printed once: a run loads its teacher at every step, and a user need read them only once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

log = logging.getLogger("bigfoot")


@cache
def warn_once(sentence: str) -> None:
    """Log a warning, unless this process has logged it before.

    Args:
        sentence: the warning.
    """
    log.warning(sentence)


@contextmanager
def muted(name: str) -> Iterator[None]:
    """Let a library log errors alone for a while.

    Args:
        name: of its logger.

    Examples:
        >>> with muted("transformers.modeling_utils"):
        ...     logging.getLogger("transformers.modeling_utils").getEffectiveLevel() == logging.ERROR
        True
    """
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
