"""A foreign file is read by a process of its own before ours reads it: one that can be ended.

What a file can cost is counted where it is read (``safe_pickle``, ``torch_layout``); this is for cases that are not
foreseen. The process imports nothing of torch's, so that it takes a tenth of a second.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from bigfoot.errors import ModelError
from bigfoot.types import Seconds

MAX_SECONDS: Seconds = 60.0
"""Of a processor; by the clock ten times as long, for beside other work a file is slow, not hostile."""
MAX_MEMORY = 2 * 2**30
"""Bytes of address space, where the system can hold a process to it."""

_OUT_OF_MEMORY = 3
_BESIDE_OTHERS = 10
_OUT_OF_TIME = -getattr(signal, "SIGPROF", 0)
# A file that is refused is no matter here: it will be refused again, with a message, by the calling process.
_PROGRAM = """
import sys
root, reader, path, most, seconds = sys.argv[1:]
try:
    import signal
    signal.setitimer(signal.ITIMER_PROF, float(seconds))
except (ImportError, AttributeError, OSError, ValueError):
    pass  # a system without such a timer: the parent's clock alone ends it
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (int(most), int(most)))
except (ImportError, OSError, ValueError):
    pass
sys.path.append(root)
module, _, function = reader.rpartition(".")
read = getattr(__import__(module, fromlist=[function]), function)
with open(path, "rb") as file:
    try:
        read(file)
    except MemoryError:
        sys.exit(3)
    except Exception:
        pass
"""


def look_first(path: Path) -> None:
    """Read a PyTorch file in a process that is killed after a minute of work; once for an unchanged file.

    Args:
        path: the file.

    Raises:
        ModelError: it is no regular file, or reading it takes too long or too much memory.
        OSError: there is no such file.
    """
    known = os.stat(path)
    if not stat.S_ISREG(known.st_mode):
        raise ModelError(f"{path} cannot be read: it is no file, but a pipe, device or folder")
    _look(path.resolve(), known.st_ino, known.st_size, known.st_mtime_ns)


@lru_cache(maxsize=256)
def _look(path: Path, *_: int) -> None:
    read_apart(path, "bigfoot.formats.torch_layout.read_layout", MAX_SECONDS)


def read_apart(path: Path, reader: str, max_seconds: Seconds) -> None:
    """Read a file in a process of its own.

    Args:
        path: the file.
        reader: dotted name of a function of an open file; its module must be light.
        max_seconds: of a processor, after which the process is killed; by the clock ten times as long.

    Raises:
        ModelError: the process was killed, or did not come to its end.
    """
    root = Path(__file__).resolve().parents[2]
    given = (str(root), reader, str(path), str(MAX_MEMORY), str(max_seconds))
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM, *given]
    late = ModelError(
        f"{path} cannot be read: it was not done after {max_seconds:g} s, where a checkpoint takes a second. The "
        "process that read it was killed, and the file is left alone"
    )
    try:
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_BESIDE_OTHERS * max_seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise late from error
    if _OUT_OF_TIME and done.returncode == _OUT_OF_TIME:
        raise late
    if done.returncode == _OUT_OF_MEMORY:
        raise ModelError(f"{path} cannot be read: it takes more than {MAX_MEMORY} bytes of memory; it is hostile")
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()[-300:]
        raise ModelError(f"{path} cannot be read: the process that checked it ended with {done.returncode}: {reason}")
