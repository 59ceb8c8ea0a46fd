"""Digests of files: each is read once, and again only where its size or its times have changed."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import stat
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

from bigfoot.storage.inventory import MARKER, Inventory

_BLOCK = 1 << 20
_YOUNG_NS = 2_000_000_000
"""File systems keep times by up to two seconds: within them a file may change again and have the same times."""
_FORMAT = 1


@dataclass(frozen=True)
class Stamp:
    """By what a file is known again without reading it.

    The time of the last change of the entry (``ctime``) cannot be set by hand: a replacement that was given the old
    size and the old time is noticed by it.

    Args:
        size: bytes.
        mtime_ns: when the content was last changed, nanoseconds.
        ctime_ns: when the entry was, nanoseconds.
    """

    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, path: str | Path) -> Stamp | None:
        """Read the stamp of a regular file, or of a link's target; None where there is none."""
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            return None
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns) if stat.S_ISREG(found.st_mode) else None

    def is_old(self, now_ns: int) -> bool:
        """Return whether any later change would have other times."""
        return max(self.mtime_ns, self.ctime_ns) < now_ns - _YOUNG_NS


def is_plain_file(path: Path) -> bool:
    """Return whether a path leads to a regular file: reading a pipe might never end."""
    return Stamp.of(path) is not None


_known: dict[tuple[str, Stamp], str] = {}


def digest_file(path: str | Path) -> str:
    """Compute the SHA-256 of a file's content; of a file that has not changed it is computed once in a process.

    Args:
        path: the file.

    Returns:
        64 hexadecimal digits; ``""`` where there is no regular file, or it cannot be read.

    Examples:
        >>> digest_file("nothing")
        ''
    """
    found = Stamp.of(path)
    if found is None:
        return ""
    key = (os.path.abspath(path), found)
    if key not in _known:
        digest = _compute(path)
        if not digest or not found.is_old(time.time_ns()):
            return digest
        _known[key] = digest
    return _known[key]


def _compute(path: str | Path) -> str:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


def digest_folder(folder: Path) -> dict[str, str]:
    """Compute the digests of all files below a folder but its inventory, by their paths in it.

    Args:
        folder: such as a model's.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = ((path.relative_to(folder).as_posix(), path) for path in files)
    return {name: digest_file(path) for name, path in names if name != MARKER}


def describe_damage(folder: Path, digests: dict[str, str]) -> str:
    """List what has changed in a folder.

    Args:
        folder: of ``digest_folder``.
        digests: of then.

    Returns:
        A few words; ``""`` where all is as it was. Files that were added do not matter.
    """
    gone = [name for name in digests if not is_plain_file(folder / name)]
    if gone:
        return f"{gone[0]} is gone" + (f", and {len(gone) - 1} more" if len(gone) > 1 else "")
    changed = [name for name, digest in digests.items() if digest_file(folder / name) != digest]
    if changed:
        return f"{changed[0]} is damaged or was changed" + (f", and {len(changed) - 1} more" if changed[1:] else "")
    return ""


def find_damage(folder: Path) -> str:
    """List what has changed in a folder that was written as a whole, by its own inventory.

    Args:
        folder: of ``replace_folder``.

    Returns:
        A few words; ``""`` where all is as it was.
    """
    inventory = Inventory(folder)
    if not inventory.is_there:
        return f"{MARKER} is gone or damaged"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MARKER}
    listed = {name: entry for name, entry in inventory.entries.items() if entry.whole}
    if gone := sorted(listed.keys() - files):
        return f"{gone[0]} is gone"
    if unlisted := sorted(files - inventory.entries.keys()):
        return f"{unlisted[0]} is not in {MARKER}"
    changed = next((name for name, entry in listed.items() if not entry.is_of(folder / name)), None)
    return "" if changed is None else f"{changed} is damaged or was changed"


class FileDigests:
    """Digests of many files, kept in a file between runs.

    It is no more than a memory: where it is lost, files are read again.

    Args:
        file: where they are kept, ending in ``.jsonl.gz``; one that is damaged counts as empty.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._changed = file, False
        self._kept: dict[str, tuple[Stamp, str]] = _read_kept(file)
        self._seen: dict[str, str] = {}

    def digest(self, path: str | Path) -> str:
        """Compute the SHA-256 of a file; one whose size and times are unchanged is not read again.

        Args:
            path: the file.

        Returns:
            64 hexadecimal digits; ``""`` where there is no regular file, or it cannot be read.
        """
        name = os.path.abspath(path)
        if name not in self._seen:
            self._seen[name] = self._look(name)
        return self._seen[name]

    def _look(self, name: str) -> str:
        found = Stamp.of(name)
        if found is None:
            return ""
        stored, key = self._kept.get(self._key(name)), self._key(name)
        if stored is not None and stored[0] == found:
            return stored[1]
        now = time.time_ns()
        digest = _compute(name)
        if found.is_old(now) and digest and Stamp.of(name) == found:
            self._kept[key] = (found, digest)
            self._changed = True
        return digest

    def _key(self, name: str) -> str:
        """Relative where a file lies below the folder of the memory, which may be moved with it."""
        folder = os.path.abspath(self._file.parent) + os.sep
        return name[len(folder) :] if name.startswith(folder) else name

    def save(self) -> None:
        """Keep what was read; where nothing can be written, it is read again next time."""
        if not self._changed:
            return
        beside = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        try:
            with gzip.open(beside, "wt", encoding="ascii", compresslevel=3) as file:
                file.write(json.dumps(_FORMAT) + "\n")
                for name, (found, digest) in self._kept.items():
                    file.write(json.dumps([name, found.size, found.mtime_ns, found.ctime_ns, digest]) + "\n")
            os.replace(beside, self._file)
            self._changed = False
        except OSError:
            beside.unlink(missing_ok=True)


def _read_kept(file: Path) -> dict[str, tuple[Stamp, str]]:
    if not is_plain_file(file):
        return {}
    try:
        with gzip.open(file, "rt", encoding="ascii") as lines:
            if json.loads(next(lines, "null")) != _FORMAT:
                return {}
            return dict(_read_line(line) for line in lines)
    except (OSError, EOFError, ValueError, TypeError, zlib.error, RecursionError):
        return {}


def _read_line(line: str) -> tuple[str, tuple[Stamp, str]]:
    name, size, mtime_ns, ctime_ns, digest = json.loads(line)
    if not (isinstance(name, str) and isinstance(digest, str)):
        raise ValueError("no line of digests")
    return name, (Stamp(size, mtime_ns, ctime_ns), digest)
