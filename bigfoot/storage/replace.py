"""Write whole or not at all: beside the place, under a name of its own, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from bigfoot.errors import OutputError
from bigfoot.storage.inventory import Inventory, write_inventory
from bigfoot.storage.lock import locked
from bigfoot.storage.ownership import OWN_ONLY, Earlier, MayReplace, check_file, check_folder
from bigfoot.storage.places import all_leftovers, leftovers, locate, refuse_links, temporary
from bigfoot.types import Seconds

_PATIENCE: Seconds = 10.0
"""Seconds to wait for a writer that is done in a moment."""


def replace_folder(
    folder: str | Path, write: Callable[[Path], None], *, may: MayReplace = OWN_ONLY, earlier: Earlier | None = None
) -> None:
    """Write a folder atomically: write beside it, then rename.

    Args:
        folder: the place; what bigfoot wrote there goes once the new one is complete.
        write: fills the folder that it is given.
        may: what else may be taken away.
        earlier: how folders of versions that left no marker are recognized.

    Raises:
        OutputError: it is no folder, a link, an input or holds what is not bigfoot's; or another process writes it.
        OSError: nothing can be written there; what stood there before still does.

    Examples:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "made"
        >>> replace_folder(place, lambda beside: (beside / "a.txt").write_text("1"))
        >>> sorted(path.name for path in place.iterdir())
        ['.bigfoot', 'a.txt']
    """
    place = refuse_links(folder)
    if place.exists() and not place.is_dir():
        raise OutputError(f"{folder} is a file, where a folder should be written; name another place")
    with locked(place):
        _recover(place)
        check_folder(place, may, earlier)
        beside = temporary(place, "new")
        beside.mkdir()
        try:
            write(beside)
            _follow_umask(beside, write_inventory(beside))
            # Another program may have written there meanwhile; what goes by force has been reported.
            check_folder(place, replace(may, report=lambda _: None), earlier)
            _swap(place, beside)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise


def _follow_umask(folder: Path, mode: int) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)


def _swap(place: Path, beside: Path) -> None:
    if not place.exists():
        beside.rename(place)
        return
    old = temporary(place, "old")
    place.rename(old)
    try:
        beside.rename(place)
    except OSError:
        old.rename(place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(folder: str | Path) -> None:
    """Restore the folder that ``replace_folder`` had put aside when it was killed between its two renames.

    Args:
        folder: the place.
    """
    try:
        place = locate(folder)
        if leftovers(place, "old"):
            with locked(place, wait=_PATIENCE):
                _recover(place)
    except (OutputError, OSError):
        return  # it is being written, or nothing can be


def _recover(place: Path) -> None:
    """With the place's lock, whatever lies beside it is of a process that was killed."""
    olds = leftovers(place, "old")
    if olds and not os.path.lexists(place):
        olds.pop().rename(place)
    _remove([*olds, *leftovers(place, "new")])


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed have left in a folder.

    Args:
        folder: of which this process is the only writer.
    """
    _remove(all_leftovers(folder))


def _remove(paths: Sequence[Path]) -> None:
    for leftover in paths:
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


@contextmanager
def replacing(
    file: str | Path, *, may: MayReplace = OWN_ONLY, is_own: Callable[[Path], bool] | None = None, listed: bool = True,
    keep_part: bool = False, wait: Seconds = 0.0,
) -> Iterator[Path]:  # fmt: skip
    """Replace a file whole or not at all.

    Args:
        file: to write; its folder is made where missing.
        may: what may be taken away.
        is_own: whether a file's content names bigfoot as its writer.
        listed: whether the folder's inventory must list it too, and takes it in.
        keep_part: also keep what is written so far where the block ends with an error.
        wait: so long for another writer.

    Yields:
        An empty file beside it, of the same suffix, to be filled.

    Raises:
        OutputError: it is a folder, a link, an input or not bigfoot's; or another process writes it.
        OSError: nothing can be written there.
    """
    place = refuse_links(file)
    with locked(place, wait=wait):
        _recover(place)
        check_file(place, may, is_own)
        if listed:
            Inventory(place.parent).check()

        def publish(beside: Path) -> None:
            # Another program may have written there meanwhile; what goes by force has been reported.
            check_file(place, replace(may, report=lambda _: None), is_own)
            os.replace(beside, place)
            if listed:
                Inventory(place.parent).add(place.name)

        with _beside(place, publish, keep_part) as beside:
            yield beside


@contextmanager
def swapped_in(file: Path) -> Iterator[Path]:
    """Write a file beside its place and move it there, in a folder that is bigfoot's own.

    Args:
        file: whatever stands there is replaced; its folder is made where missing.

    Yields:
        An empty file beside it, of the same suffix, to be filled.

    Raises:
        OutputError: a folder is in its place.
        OSError: nothing can be written there.
    """
    if file.is_dir():
        raise OutputError(f"{file} is a folder, where a file should be written; move it away")
    file.parent.mkdir(parents=True, exist_ok=True)
    with _beside(file, lambda beside: os.replace(beside, file)) as beside:
        yield beside


@contextmanager
def _beside(place: Path, publish: Callable[[Path], None], keep_part: bool = False) -> Iterator[Path]:
    beside = temporary(place, "new")
    with beside.open("xb") as made:
        mode = os.fstat(made.fileno()).st_mode & 0o777
    try:
        try:
            yield beside
        except BaseException:
            if not keep_part:
                raise
            publish(beside)
            raise
        beside.chmod(mode)  # some libraries make files that their owner alone reads
        publish(beside)
    finally:
        beside.unlink(missing_ok=True)


def write_file(
    file: str | Path, content: bytes, *, may: MayReplace = OWN_ONLY, is_own: Callable[[Path], bool] | None = None,
    listed: bool = True,
) -> None:  # fmt: skip
    """Write a small file whole or not at all; see ``replacing``."""
    with replacing(file, may=may, is_own=is_own, listed=listed, wait=_PATIENCE) as beside:
        beside.write_bytes(content)


def write_files(
    contents: Mapping[Path, bytes], *, may: MayReplace = OWN_ONLY, is_own: Callable[[Path], bool] | None = None,
    listed: bool = True,
) -> None:  # fmt: skip
    """Write files that belong together: none is replaced before all are on the disk; see ``replacing``.

    Args:
        contents: by path.
        may: what may be taken away.
        is_own: see ``replacing``.
        listed: see ``replacing``.
    """
    with ExitStack() as stack:
        parts = {
            path: stack.enter_context(replacing(path, may=may, is_own=is_own, listed=listed)) for path in contents
        }
        for path, content in contents.items():
            parts[path].write_bytes(content)
