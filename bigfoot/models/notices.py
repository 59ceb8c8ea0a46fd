"""Warnings that are printed once: a run loads its teacher at every step, and a user need read them only once."""

from __future__ import annotations

import logging
from functools import cache

log = logging.getLogger("bigfoot")


@cache
def warn_once(sentence: str) -> None:
    """Log a warning, unless this process has logged it before.

    Args:
        sentence: the warning.
    """
    log.warning(sentence)
    _printed.add(sentence)


_printed: set[str] = set()


def is_printed(sentence: str) -> bool:
    """Return whether ``warn_once`` has printed a warning in this process.

    Examples:
        >>> is_printed("never printed")
        False
    """
    return sentence in _printed
