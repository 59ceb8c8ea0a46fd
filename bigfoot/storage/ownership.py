"""Check what may be replaced: outputs that are absent, empty, or only bigfoot's."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from bigfoot.errors import OutputError
from bigfoot.storage.inventory import MARKER, Inventory
from bigfoot.storage.places import refuse_inside, refuse_links, refuse_overwriting, refuse_protected

_EXAMPLES = 4
_COUNTED = 1000


@dataclass(frozen=True)
class MayReplace:
    """What a writer may replace.

    Args:
        force: also what bigfoot did not write; None where the user cannot ask for it.
        edited: also what bigfoot wrote and was changed since.
        inputs: files and folders that are read, which no output replaces.
        models: folders that are read, in which no folder is made.
        report: called with a sentence that names what is removed by force.
    """

    force: bool | None = None
    edited: bool = False
    inputs: Sequence[str | Path] = ()
    models: Sequence[str | Path | None] = ()
    report: Callable[[str], None] = field(default=lambda _: None)

    def refuse_or_report(self, place: Path, foreign: Sequence[str]) -> None:
        """Raise an error for what is in the way, or report it where it may be removed.

        Args:
            place: that should be replaced.
            foreign: names of what is not bigfoot's there.

        Raises:
            OutputError: it may not be taken away.
        """
        more = f" and {len(foreign) - _EXAMPLES} more" if len(foreign) > _EXAMPLES else ""
        named = ", ".join(foreign[:_EXAMPLES]) + more.replace(str(_COUNTED - _EXAMPLES), "hundreds")
        if self.force:
            self.report(f"{place}: removed, though not written by bigfoot or changed since: {named}")
            return
        cure = "name another place" + ("" if self.force is None else ", or give --force to remove it")
        raise OutputError(f"{place} would be replaced, and {named} was not written by bigfoot or has changed; {cure}")


OWN_ONLY = MayReplace()
"""What bigfoot wrote, unchanged since."""
OWN_OR_EDITED = MayReplace(edited=True)
"""What bigfoot wrote, such as the steps of a run."""


@dataclass(frozen=True)
class Earlier:
    """Signs of a folder of a version that left no marker.

    Args:
        signs: files of which one is there and names bigfoot as its writer.
        names: patterns of all files that such a folder may have.
        is_sign: whether a sign is what it seems to be.
    """

    signs: tuple[str, ...]
    names: tuple[str, ...]
    is_sign: Callable[[Path], bool] = Path.is_file

    def recognizes(self, folder: Path) -> bool:
        """Return whether one of its signs is there."""
        return any((folder / sign).is_file() and self.is_sign(folder / sign) for sign in self.signs)


def check_folder(folder: str | Path, may: MayReplace = OWN_ONLY, earlier: Earlier | None = None) -> Path:
    """Refuse to replace a folder that holds what is not bigfoot's.

    Args:
        folder: to be replaced, or made.
        may: what may be taken away.
        earlier: how folders without a marker are recognized.

    Returns:
        Its absolute path.

    Raises:
        OutputError: it is no folder, a link, a mount point, an input, or holds something else.

    Examples:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp())
        >>> _ = (place / "thesis.txt").write_text("years of work")
        >>> check_folder(place)
        Traceback (most recent call last):
        bigfoot.errors.OutputError: ... would be replaced, and thesis.txt was not written by bigfoot ...
    """
    place = refuse_links(folder)
    refuse_overwriting(may.inputs, place)
    refuse_inside(may.models, place)
    if not place.exists():
        return place
    if not place.is_dir():
        raise OutputError(f"{folder} is a file, where a folder should be written; name another place")
    refuse_protected(place)
    foreign = list(islice(find_foreign(place, may.edited, earlier), _COUNTED))
    if foreign:
        may.refuse_or_report(place, foreign)
    return place


def find_foreign(folder: Path, edited: bool = False, earlier: Earlier | None = None) -> Iterator[str]:
    """List what a folder holds that bigfoot did not write, by name, sorted.

    Args:
        folder: searched as far as bigfoot's own files lie; other folders are named, with a slash.
        edited: see ``MayReplace``.
        earlier: see ``check_folder``.
    """
    inventory = Inventory(folder)
    known = None if inventory.is_there or earlier is None or not earlier.recognizes(folder) else earlier

    def is_own(name: str, path: Path) -> bool:
        if known is not None:
            return any(fnmatchcase(name, pattern) for pattern in known.names)
        if name == MARKER:
            return inventory.is_there
        entry = inventory.entries.get(name)
        # A file that was put into a folder is not the folder's, and may be what hours were spent on.
        return entry is not None and entry.whole and (edited or entry.is_of(path))

    own_folders = {parent.as_posix() for name in inventory.entries for parent in Path(name).parents}
    if known is not None:
        own_folders = {parent.as_posix() for pattern in known.names for parent in Path(pattern).parents}
    yield from _walk(folder, "", is_own, own_folders)


def _walk(folder: Path, above: str, is_own: Callable[[str, Path], bool], own_folders: set[str]) -> Iterator[str]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        name = above + entry.name
        if entry.is_dir(follow_symlinks=False):
            if name in own_folders:
                yield from _walk(Path(entry.path), f"{name}/", is_own, own_folders)
            else:
                yield f"{name}/"
        elif not (entry.is_file(follow_symlinks=False) and is_own(name, Path(entry.path))):
            yield name


def check_file(
    file: str | Path, may: MayReplace = OWN_ONLY, is_own: Callable[[Path], bool] | None = None
) -> Path:
    """Refuse to replace a file that is not bigfoot's.

    Args:
        file: to be replaced, or made.
        may: what may be taken away.
        is_own: whether a file's content names bigfoot as its writer; without it only the folder's inventory counts.

    Returns:
        Its absolute path.

    Raises:
        OutputError: it is a folder, a link, a device, an input, or not bigfoot's.
    """
    place = refuse_links(file)
    refuse_overwriting(may.inputs, place)
    if not place.exists():
        return place
    status = place.stat()
    if stat.S_ISDIR(status.st_mode):
        raise OutputError(f"{file} is a folder, where a file should be written; name a file")
    if not stat.S_ISREG(status.st_mode):
        raise OutputError(f"{file} is no regular file and is not replaced; name another")
    if status.st_size == 0 or (is_own is not None and is_own(place)):
        return place
    for model in may.models:
        if model is not None and Path(model).is_dir() and place.is_relative_to(os.path.realpath(model)):
            raise OutputError(f"{file} is a file of {model}, which is read; name another place")
    entry = Inventory(place.parent).entries.get(place.name)
    if entry is None or not (may.edited or entry.is_of(place)):
        # Even by force: of a folder that is read, each file that bigfoot did not write may be what is read.
        refuse_inside(may.inputs, place)
        may.refuse_or_report(place, [place.name])
    return place


def claim_folder(folder: Path, earlier: Earlier | None = None) -> None:
    """Mark a folder as bigfoot's own, so that files in it may be replaced without a check of each.

    Args:
        folder: made where missing; a link to one is followed.
        earlier: how one without a marker is recognized.

    Raises:
        OutputError: there is something in it that is not bigfoot's.
        OSError: it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    inventory = Inventory(folder)
    if inventory.is_there:
        return
    foreign = [] if earlier is not None and earlier.recognizes(folder) else list(islice(find_foreign(folder), _COUNTED))
    if foreign:
        OWN_ONLY.refuse_or_report(folder, foreign)
    inventory.claim()
