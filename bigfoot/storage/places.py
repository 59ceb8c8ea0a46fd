"""Check the place of an output: links, mount points, working directories and inputs are refused."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

from bigfoot.errors import OutputError

CLOUD = re.compile(r"(s3|s3a|gs|gcs|hf|memory):/{1,2}(?=[^/])")
"""With one slash too: that is what remains of an address that was a path for a while."""
_LONGEST_STEM = 150
"""Bytes of a name that a temporary name repeats; file systems take 255 in all."""


def is_remote(place: str | Path) -> bool:
    """Return whether a path is a place in the cloud.

    Examples:
        >>> is_remote("s3://bucket/model"), is_remote("runs/demo")
        (True, False)
    """
    return CLOUD.match(str(place)) is not None


def locate(output: str | Path) -> Path:
    """Resolve the folder that an output lies in; the output itself is not followed where it is a link.

    Args:
        output: a file or folder, there or not.

    Returns:
        Its absolute path, the same for every way to write it.

    Raises:
        OutputError: it names no entry of a folder, such as ``.``, ``..`` or ``/``, or a place in the cloud.

    Examples:
        >>> locate("a/../b") == locate("b")
        True
    """
    refuse_remote(output)
    path = Path(output)
    if path.name in ("", ".."):
        raise OutputError(f"{str(output) or '.'!r} cannot be written to: name a new file or folder, such as out/model")
    return Path(os.path.realpath(path.parent)) / path.name


def refuse_remote(output: str | Path) -> None:
    """Refuse an address in the cloud where a path of this machine is written: it would become a folder ``s3:``.

    Raises:
        OutputError: it is one.
    """
    if is_remote(output):
        raise OutputError(f"{output} is in the cloud, and this is written on this machine alone; name a path here")


def refuse_links(output: str | Path) -> Path:
    """``locate`` an output; what is a link is neither followed nor replaced.

    Raises:
        OutputError: it is one.
    """
    place = locate(output)
    if place.is_symlink():
        raise OutputError(f"{output} is a link to {os.readlink(place)}; name that itself, or another place")
    return place


def refuse_overwriting(inputs: Iterable[str | Path], output: str | Path) -> None:
    """Refuse an output that is one of the inputs, under any name, or a folder that holds one.

    Args:
        inputs: files and folders that are read; names of what is no path are skipped.
        output: file or folder to write.

    Raises:
        OutputError: it would destroy an input.
    """
    place = Path(os.path.realpath(output))
    for given in inputs:
        path = Path(given)
        if not path.exists():
            continue
        same = place.exists() and place.samefile(path)
        if same or Path(os.path.realpath(path)).is_relative_to(place):
            how = "is" if same else "holds"
            raise OutputError(f"{output} {how} what is read ({given}) and would be overwritten; name another place")


def refuse_inside(models: Iterable[str | Path | None], output: str | Path) -> None:
    """Refuse an output inside a folder that is read: a model, say, would no longer be what it was.

    Args:
        models: folders; what is none is skipped.
        output: folder to write, or file to replace.

    Raises:
        OutputError: it would lie in one of them.
    """
    place = Path(os.path.realpath(output))
    for model in models:
        if model is not None and Path(model).is_dir() and place.is_relative_to(os.path.realpath(model)):
            raise OutputError(f"{output} lies in {model}, which is read; name a place outside it")


def refuse_protected(folder: Path) -> None:
    """Refuse to replace a folder that no command may take away, whatever is in it.

    Args:
        folder: of ``locate``.

    Raises:
        OutputError: it is a mount point or holds one, or the current or the home folder is in it.
    """
    for name, kept in (("the current folder", _find(Path.cwd)), ("the home folder", _find(Path.home))):
        if kept is not None and Path(os.path.realpath(kept)).is_relative_to(folder):
            raise OutputError(f"{folder} is {name} or holds it, and is never replaced; name another folder")
    if mounted := next((each for each in _mount_points() if each.is_relative_to(folder)), None):
        raise OutputError(f"{folder} is never replaced: {mounted} is a mount point; name another folder")
    if os.path.ismount(folder):
        raise OutputError(f"{folder} is a mount point and never replaced; name a folder in it")


def _find(place: Callable[[], Path]) -> Path | None:
    try:
        return place()
    except (OSError, RuntimeError):  # it was removed, or there is none
        return None


def _mount_points() -> list[Path]:
    """List mount points where the system does; bind mounts of one file system are found nowhere else."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    places = [fields[4] for line in lines if len(fields := line.split(" ")) > 4]
    return [Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), place)) for place in places]


def own_name(name: str, kind: str) -> str:
    """Return a hidden name beside an output that only bigfoot gives.

    Args:
        name: of the output.
        kind: what it is for: ``lock``, ``new``, ``old``.

    Examples:
        >>> own_name("model", "lock")
        '.model.bigfoot-lock'
    """
    raw = os.fsencode(name)
    stem = name if len(raw) <= _LONGEST_STEM else hashlib.sha256(raw).hexdigest()[:32]
    return f".{stem}.bigfoot-{kind}"


def temporary(place: Path, kind: str) -> Path:
    """Return an unused name beside a place; a file's keeps the suffix, by which libraries choose a format.

    Args:
        place: of ``locate``.
        kind: ``new`` or ``old``.
    """
    suffix = "".join(place.suffixes[-2:] if place.suffix == ".gz" else place.suffixes[-1:])
    own = f"{own_name(place.name, kind)}-{os.getpid()}-{secrets.token_hex(4)}"
    return place.with_name(own + (suffix if len(os.fsencode(suffix)) < 20 else ""))


def leftovers(place: Path, kind: str) -> list[Path]:
    """List what writers of a place have left beside it, oldest first; only names that ``temporary`` gives.

    Args:
        place: of ``locate``.
        kind: see ``temporary``.
    """
    return _find_temporary(place.parent, re.escape(own_name(place.name, kind)))


def all_leftovers(folder: Path) -> list[Path]:
    """List what writers of files in a folder have left there, of any name.

    Args:
        folder: of which this process is the only writer.
    """
    return _find_temporary(folder, r"\..+\.bigfoot-new")


def _find_temporary(folder: Path, start: str) -> list[Path]:
    pattern = re.compile(start + r"-\d+-[0-9a-f]{8}(\..*)?", re.DOTALL)
    try:
        names = [name for name in os.listdir(folder) if pattern.fullmatch(name)]
    except OSError:
        return []
    return sorted((folder / name for name in names), key=lambda path: path.lstat().st_mtime_ns)
