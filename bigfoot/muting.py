"""Keep what other libraries print out of a command's output: warnings, log lines and progress bars."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_SETTINGS = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # transformers' bars follow it; downloads have one of ours
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYTHONWARNINGS": "ignore",  # of child processes
    "TOKENIZERS_PARALLELISM": "false",  # or each fork of a loader warns
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
}


def mute_libraries() -> None:
    """Mute other libraries in this process and its children, errors excepted.

    For commands, before they import anything heavy. What the user has set in the environment, or with ``python -W``,
    stays.

    Examples:
        >>> import os
        >>> mute_libraries()
        >>> "TRANSFORMERS_VERBOSITY" in os.environ
        True
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    root = logging.getLogger()
    if not root.handlers:
        # A library that logs to the root logger would add a handler that prints everything.
        root.addHandler(_Stderr())


class _Stderr(logging.Handler):
    """Prints bigfoot's messages, and errors of others."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR or record.name.split(".")[0] == "bigfoot"

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


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


@contextmanager
def without_bars() -> Iterator[None]:
    """Let transformers load and save models without its bars for a while; work that takes long has one of ours."""
    from transformers.utils import logging as bars

    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()
