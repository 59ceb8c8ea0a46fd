"""A progress bar over seconds of audio."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def heard_bar(paths: list[Path]) -> Iterator[Callable[[float], None] | None]:
    """A bar of seconds heard, where somebody looks at it.

    Args:
        paths: what will be heard.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    from bigfoot.audio.files import sum_seconds

    # Lines of text go above the bar where both share a screen; into a pipe they go as they are.
    with Progress(console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task("seconds heard", total=sum_seconds(paths) or None)
        yield lambda seconds: bar.update(task, advance=seconds)
