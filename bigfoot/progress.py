"""Progress of long work on stderr: bars on a terminal, a plain line every so often elsewhere."""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager, nullcontext
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # rich is slow to import
    from rich.progress import Progress, TaskID

Item = TypeVar("Item")

AUDIO = "s of audio"
"""Unit of work that is counted in seconds of audio."""
_FIRST_LINE = 10.0
_LONGEST_SILENCE = 60.0
_SHARE = 0.25
"""Of the time so far, until the next line: an hour of work has some twenty lines in its first ten minutes."""


class Work:
    """One piece of work: what is done of it, how fast, and how much is left.

    Args:
        description: what is done, such as ``evaluating test``.
        total: amount in all; None where it is not known.
        unit: of the amount, such as ``AUDIO`` or ``files``; empty for plain counts.
        done: amount done before.
    """

    def __init__(self, description: str, total: float | None = None, unit: str = "", done: float = 0.0) -> None:
        self.description, self.total, self.unit, self.done = description, total, unit, done
        self.note = ""
        self._before, self._start = done, time.monotonic()
        self.on_change: Callable[[Work], None] = lambda _: None
        self._lock = Lock()

    def advance(self, amount: float = 1.0, note: str | None = None) -> None:
        """Report that more is done; from any thread.

        Args:
            amount: done since the last call.
            note: further figures, such as losses; the last one stays.
        """
        with self._lock:
            self.done += amount
            self.note = self.note if note is None else note
            self.on_change(self)

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self._start

    def describe(self) -> str:
        """Return amount, rate and time left in words.

        Examples:
            >>> Work("reading", total=4, unit="files").describe()
            '0/4 files'
        """
        of = "" if self.total is None else f"/{self.total:,.0f}"
        words = f"{self.done:,.0f}{of} {self.unit}".rstrip()
        new, seconds = self.done - self._before, self.seconds
        if new > 0 and seconds > 0:
            rate = new / seconds
            words += f", {rate:.3g}{' s of audio' if self.unit == AUDIO else ''}/s"
            if self.total is not None and self.total > self.done:
                words += f", {_duration((self.total - self.done) / rate)} left"
        return f"{words}  {self.note}".rstrip()


class _Display:
    """The bars of this process: work within work adds a line to the same display, since a terminal has but one."""

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._open = 0

    @contextmanager
    def line(self, work: Work, live: bool) -> Iterator[Callable[[Work], None]]:
        bars, task = self._add(work, live)

        def show(work: Work) -> None:
            bars.update(task, completed=work.done, text=work.describe(), refresh=not live)

        try:
            yield show
        finally:
            bars.remove_task(task)
            if bars is self._bars:
                self._open -= 1
                if not self._open:
                    self.close()

    def _add(self, work: Work, live: bool) -> tuple[Progress, TaskID]:
        from rich import get_console
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, Progress, TextColumn

        if self._bars is None:
            # On a shared terminal the log's own console prints lines above the bars; in a pipe they are unchanged.
            shared = sys.stdout.isatty()
            self._bars = Progress(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}", markup=False),
                console=get_console() if shared else Console(stderr=True), redirect_stdout=shared,
                transient=True, auto_refresh=live,
            )  # fmt: skip
            self._bars.start()
        self._open += 1
        task = self._bars.add_task(escape(work.description), total=work.total, text="")
        self._bars.update(task, completed=work.done)
        return self._bars, task

    def close(self) -> None:
        """Give the terminal back: a bar that an error left would keep the cursor hidden."""
        bars, self._bars, self._open = self._bars, None, 0
        if bars is not None:
            bars.stop()


_display = _Display()
atexit.register(_display.close)


def close_bars() -> None:
    """Remove bars that an error left on the terminal, before its message is printed."""
    _display.close()


@contextmanager
def show_work(
    description: str,
    total: float | Callable[[], float | None] | None = None,
    unit: str = "",
    *,
    done: float = 0.0,
    live: bool = True,
    plain: bool = True,
) -> Iterator[Work]:
    """Show the progress of work while the block runs, in the first of several processes alone.

    Args:
        description: what is done.
        total: amount of it; a function is called for a bar alone, where it takes time to find out.
        unit: of the amount.
        done: amount done before, such as before a resume.
        live: whether a bar refreshes itself. While speed is measured it must not: it is drawn when work advances.
        plain: whether lines are printed where there is no terminal.

    Yields:
        The work, whose ``advance`` is to be called.

    Examples:
        >>> with show_work("reading", total=2, unit="files") as work:
        ...     work.advance()
        >>> work.done
        1.0
    """
    if os.environ.get("RANK", "0") != "0":
        yield Work(description, None, unit, done)
    elif sys.stderr.isatty():
        work = Work(description, total() if callable(total) else total, unit, done)
        with _display.line(work, live) as work.on_change:
            yield work
    else:
        work = Work(description, None if callable(total) else total, unit, done)
        if plain:
            work.on_change = _print_lines()
        with _printed_meanwhile(work) if plain and work.total is None and not unit else nullcontext():
            yield work


def track(
    items: Iterable[Item],
    description: str,
    total: float | None = None,
    unit: str = "",
    amount: Callable[[Item], float] = lambda _: 1.0,
) -> Iterator[Item]:
    """Pass items through, and show how many of them are done.

    Args:
        items: what is worked through.
        description: what is done with them.
        total: amount of all; their number where ``items`` has one.
        unit: of the amount.
        amount: of an item; 1 by default.

    Yields:
        The items.

    Examples:
        >>> list(track("abc", "reading"))
        ['a', 'b', 'c']
    """
    count = len(items) if total is None and isinstance(items, Sized) else total
    with show_work(description, count, unit) as work:
        for item in items:
            yield item
            work.advance(amount(item))


@contextmanager
def _printed_meanwhile(work: Work) -> Iterator[None]:
    """Print the time of work that is one long step, which nothing advances."""
    ended = Event()

    def watch() -> None:
        while not ended.wait(_until_next(work.seconds)):
            print(f"{work.description}: {_duration(work.seconds)} so far", file=sys.stderr, flush=True)

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _until_next(seconds: float) -> float:
    """Time until the next line."""
    return min(_LONGEST_SILENCE, max(_FIRST_LINE, _SHARE * seconds))


def _print_lines() -> Callable[[Work], None]:
    due = _FIRST_LINE

    def show(work: Work) -> None:
        nonlocal due
        if work.seconds >= due:
            due = work.seconds + _until_next(work.seconds)
            print(f"{work.description}: {work.describe()}", file=sys.stderr, flush=True)

    return show


def _duration(seconds: float) -> str:
    """Write a time as a clock does.

    Examples:
        >>> _duration(75), _duration(3725)
        ('1:15', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
