"""One writer at a time: a lock file beside an output, or in a folder that grows.

The system's record locks decide: they end with their process, whatever ended it, and are not inherited. Where a file
system has none, the file itself is the lock, and the process that it names is looked up.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from bigfoot.errors import OutputError
from bigfoot.storage.places import locate, own_name, refuse_remote, temporary
from bigfoot.storage.processes import Process
from bigfoot.types import Seconds

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

_PAUSE: Seconds = 0.1
_YOUNG: Seconds = 5.0
"""An empty lock file is being filled; one that is older was left so by a kill."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}


@dataclass
class _Held:
    """A lock of this process.

    Args:
        thread: that has it; the others wait as other processes do.
        depth: how often it was taken; the last one gives it back.
        file: descriptor; None where the file itself is the lock.
        owner: this process, as the file names it.
    """

    thread: int
    owner: Process
    file: int | None
    depth: int = 1


class _BusyError(Exception):
    """Another one has the lock.

    Args:
        owner: who; None where that is not known.
    """

    def __init__(self, owner: Process | None) -> None:
        self.owner = owner


_held: dict[Path, _Held] = {}
_guard = threading.Lock()


@contextmanager
def locked(
    output: str | Path, *, inside: bool = False, wait: Seconds = 0.0, on_wait: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Lock an output against other writers; a lock is reentrant within a thread.

    Args:
        output: file or folder; the folder that it lies in is made where missing.
        inside: keep the lock in the folder itself, which may then be a link and is made where missing.
        wait: so long, where another one writes; infinite is allowed.
        on_wait: called once with a sentence that names that process.

    Yields:
        Nothing; the lock is given back at the end.

    Raises:
        OutputError: another one writes it, or nothing can be written there.
    """
    path = _lock_file(output, inside)
    until, reported = time.monotonic() + wait, False
    while True:
        try:
            _take(path, output)
            break
        except _BusyError as busy:
            sentence = f"{output} is being written by {busy.owner.describe() if busy.owner else 'another process'}"
        if time.monotonic() >= until:
            raise OutputError(f"{sentence}; wait for its end, or name another place")
        if on_wait is not None and not reported:
            on_wait(f"{sentence}; waiting for its end")
            reported = True
        time.sleep(_PAUSE)
    pid = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == pid:  # a forked child does not have it
            _give_back(path)


def _lock_file(output: str | Path, inside: bool) -> Path:
    refuse_remote(output)
    place = Path(os.path.realpath(output)) if inside else locate(output)
    folder = place if inside else place.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"{folder} is no folder, and one is needed there; name another place") from error
    except OSError as error:
        raise _unwritable(output, error) from error
    return place / ".bigfoot-lock" if inside else place.with_name(own_name(place.name, "lock"))


def _unwritable(output: str | Path, error: OSError) -> OutputError:
    return OutputError(f"{output} cannot be written ({error.strerror or error}); name another place")


def _take(path: Path, output: str | Path) -> None:
    """Try once."""
    with _guard:
        held = _held.get(path)
        if held is not None and held.owner.pid == os.getpid():
            if held.thread != threading.get_ident():
                raise _BusyError(held.owner)
            held.depth += 1
            return
        mine = Process.current()
        try:
            file = _take_file(path, mine)
        except OSError as error:
            raise _unwritable(output, error) from error
        _held[path] = _Held(threading.get_ident(), mine, file)


def _take_file(path: Path, mine: Process) -> int | None:
    """Try once.

    Returns:
        The locked descriptor; None where there are no record locks, and the file itself is the lock.
    """
    while True:
        file, is_new = _open(path)
        try:
            if fcntl is None:
                raise OSError(errno.ENOSYS, "no record locks")
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                os.close(file)
                _take_by_name(path, mine, is_new)
                return None
            owner = None if error.errno == errno.ESTALE else _read_owner(path)
            os.close(file)
            if error.errno == errno.ESTALE:
                continue  # on a network's file system: another machine has removed the file meanwhile
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise _BusyError(owner) from None
            raise
        if _is_at(file, path):
            os.ftruncate(file, 0)
            os.pwrite(file, _encode(path, mine), 0)
            return file
        os.close(file)  # its last owner has removed it meanwhile


def _open(path: Path) -> tuple[int, bool]:
    flags = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    while True:
        try:
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666), True
        except FileExistsError:
            pass  # it is opened as it is, below
        try:
            return os.open(path, flags), False
        except FileNotFoundError:  # given back between the two
            continue


def _take_by_name(path: Path, mine: Process, is_new: bool) -> None:
    """Take the lock by creating its file; a file whose owner has ended is moved away first."""
    if not is_new:
        _move_away(path)
        file, is_new = _open(path)
        os.close(file)
        if not is_new:
            raise _BusyError(None)
    path.write_bytes(_encode(path, mine))


def _move_away(path: Path) -> None:
    """Remove a lock file whose owner has ended."""
    try:
        content, age = path.read_bytes(), time.time() - path.stat().st_mtime
        owner = _read_owner(path)
        if (not content and age < _YOUNG) or (owner is not None and not owner.has_ended()):
            raise _BusyError(owner)
        aside = temporary(path, "old")
        path.rename(aside)
    except FileNotFoundError:
        raise _BusyError(None) from None
    if aside.read_bytes() != content:  # another process was faster, and its lock is no stale one
        os.replace(aside, path)
        raise _BusyError(None)
    aside.unlink()


def _encode(path: Path, owner: Process) -> bytes:
    return json.dumps({**owner.to_dict(), "path": os.fspath(path)}).encode()


def _read_owner(path: Path) -> Process | None:
    """Return the process that a lock file names; None where it names none, or was copied from elsewhere."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    is_here = isinstance(content, dict) and content.get("path") == os.fspath(path)
    return Process.from_dict(content) if is_here else None


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.lstat())
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        return False


def _give_back(path: Path) -> None:
    with _guard:
        held = _held[path]
        held.depth -= 1
        if held.depth:
            return
        del _held[path]
        try:
            if _read_owner(path) == held.owner if held.file is None else _is_at(held.file, path):
                path.unlink()
        except OSError:
            pass  # an empty file more, or a folder that is gone
        if held.file is not None:
            os.close(held.file)
