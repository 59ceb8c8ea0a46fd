"""What a command line names: files, folders, patterns, and standard input."""

from __future__ import annotations

import glob
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bigfoot.audio.files import READABLE, UNREADABLE, walk_files
from bigfoot.errors import AudioError

STDIN = "-"
"""Stands for audio that comes through a pipe."""
STDIN_NAME = "stdin"


@dataclass(frozen=True)
class Argument:
    """A file that was asked for.

    Args:
        path: where to read it.
        name: what to call it.
        place: under what name a result in a folder is put, with the folders below the one that was named.
    """

    path: Path
    name: str
    place: Path


def expand_arguments(arguments: Sequence[str]) -> list[Argument | AudioError]:
    """Find the files that arguments mean.

    Args:
        arguments: files, folders (looked through to the bottom), and patterns such as ``calls/**/*.wav`` that no
            shell has expanded; ``-`` is left as it is.

    Returns:
        The files in the order of the arguments, those of a folder or a pattern sorted; an error for a pattern that
        means nothing, for a folder without audio, and for audio in a folder that soundfile does not read.
    """
    return [found for argument in arguments for found in _expand(argument)]


def _expand(argument: str) -> Iterator[Argument | AudioError]:
    path = Path(argument)
    if argument == STDIN:
        yield Argument(path, STDIN_NAME, Path(STDIN_NAME))
    elif path.is_dir():
        yield from _expand_folder(path)
    elif not path.exists() and glob.has_magic(argument):
        paths = sorted(Path(found) for found in glob.glob(argument, recursive=True))
        files = [found for found in paths if found.is_file()]
        yield from (Argument(found, str(found), Path(found.name)) for found in files)
        if not files:
            yield AudioError(argument, "no file is named like this")
    else:
        yield Argument(path, argument, Path(path.name))


def _expand_folder(folder: Path) -> Iterator[Argument | AudioError]:
    nothing = True
    for path in walk_files(folder):
        suffix = path.suffix.lower()
        if suffix in READABLE:
            yield Argument(path, str(path), path.relative_to(folder))
        elif suffix in UNREADABLE:
            yield AudioError(path, f"soundfile cannot read {suffix}; convert it, such as to .flac with ffmpeg")
        nothing = nothing and suffix not in READABLE | UNREADABLE
    if nothing:
        yield AudioError(folder, "holds no audio")


@contextmanager
def spooled_stdin() -> Iterator[Path]:
    """Standard input as a file for a while: libsndfile must go back and forth in it, and an hour fills no memory.

    Yields:
        The file; gone afterwards.
    """
    with tempfile.TemporaryDirectory(prefix="bigfoot-") as folder:
        path = Path(folder) / STDIN_NAME
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield path
