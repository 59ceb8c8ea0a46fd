"""A progress bar over seconds of audio."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def audio_bar(paths: list[Path]) -> Iterator[Callable[[float], None] | None]:
    """Show a progress bar over seconds of audio, on a terminal only.

    Args:
        paths: audio files to be processed.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    from bigfoot.audio.files import sum_seconds

    # Lines of text are printed above the bar on a shared terminal; in a pipe they are unchanged.
    with Progress(console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task("seconds of audio", total=sum_seconds(paths) or None)
        yield lambda seconds: bar.update(task, advance=seconds)
