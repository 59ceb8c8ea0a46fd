"""Which process is which: by machine, number and start, since numbers are given again; and the memory that is left."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Process:
    """A process that writes something.

    Args:
        host: name of its machine.
        pid: its number there.
        started: its start time in the system's own form; empty where that is unknown.
        command: what was called.
        since: when it started to write, local time.
    """

    host: str
    pid: int
    started: str
    command: str
    since: str

    @classmethod
    def current(cls) -> Process:
        """This process, writing from now on."""
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        command = " ".join([Path(sys.argv[0]).name if sys.argv else "python", *sys.argv[1:3]])[:200]
        return cls(socket.gethostname(), os.getpid(), started_at(os.getpid()) or "", command, now)

    @classmethod
    def from_dict(cls, given: Any) -> Process | None:  # noqa: ANN401 - whatever a file holds
        """Read what ``to_dict`` gave; None where it is nothing of the kind."""
        names = {entry.name: int if entry.name == "pid" else str for entry in fields(cls)}
        if not isinstance(given, dict) or not all(isinstance(given.get(name), kind) for name, kind in names.items()):
            return None
        return cls(**{name: given[name] for name in names})

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def has_ended(self) -> bool:
        """Return whether it is known to have ended; unknown, thus false, for another machine's."""
        if self.host != socket.gethostname():
            return False
        started = started_at(self.pid)
        return started is None or (bool(self.started) and started != self.started)

    def describe(self) -> str:
        """In a few words."""
        where = "" if self.host == socket.gethostname() else f" on {self.host}"
        return f"process {self.pid}{where} ({self.command}) since {self.since}"


def started_at(pid: int) -> str | None:
    """Start time of a process of this machine; empty where it is unknown, None where there is no such process.

    Examples:
        >>> started_at(os.getpid()) == started_at(os.getpid())
        True
    """
    if not Path("/proc/self/stat").exists():
        return _asked(pid)
    try:
        # The name stands in brackets and may hold any character, brackets too.
        after = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError:
        return ""
    # A process that has ended and that its parent has not asked about is no process any more.
    return None if after[0] in "ZX" else f"{_boot()}-{after[19]}"


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _asked(pid: int) -> str | None:
    """Return the start time on systems without ``/proc``."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass  # it runs, as another user's
    try:
        done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def available_memory() -> int | None:
    """Return the bytes that this process may still take; None on a system that does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, ValueError, StopIteration):
        return None
    try:
        group = Path("/sys/fs/cgroup")
        return min(free, int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return free
