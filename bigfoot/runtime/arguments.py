"""Expand the arguments of a command line: files, folders, patterns, and standard input."""

from __future__ import annotations

import glob
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bigfoot.audio.folders import READABLE, UNREADABLE, type_problem, walk_files
from bigfoot.errors import AudioError
from bigfoot.paths import printable

STDIN = "-"
"""Stands for audio that comes through a pipe."""
STDIN_NAME = "stdin"


@dataclass(frozen=True)
class Argument:
    """A file to transcribe.

    Args:
        path: where to read it.
        name: what to call it, in printable characters.
        place: under what name a result in a folder is put, with the folders below the one that was named.
    """

    path: Path
    name: str
    place: Path


def expand_arguments(arguments: Sequence[str]) -> list[Argument | AudioError]:
    """Find the files that arguments mean.

    Args:
        arguments: files, folders (searched recursively), and patterns such as ``calls/**/*.wav`` that no
            shell has expanded; ``-`` is left as it is.

    Returns:
        The files in the order of the arguments, those of a folder or a pattern sorted; an error for a pattern that
        means nothing, for a folder without audio or one that cannot be listed, and for audio in a folder that soundfile
        does not read.
    """
    return [found for argument in arguments for found in _expand(argument)]


def _expand(argument: str) -> Iterator[Argument | AudioError]:
    path = Path(argument)
    if argument == STDIN:
        yield Argument(path, STDIN_NAME, Path(STDIN_NAME))
    # os.path, since pathlib lets some of the system's errors through (an endless name).
    elif os.path.isdir(path):
        yield from _expand_folder(path)
    elif not os.path.lexists(path) and glob.has_magic(argument):
        paths = sorted(Path(found) for found in glob.glob(argument, recursive=True))
        files = [found for found in paths if not os.path.isdir(found)]
        yield from (Argument(found, printable(found), Path(found.name)) for found in files)
        if not files:
            yield AudioError(argument, "no file is named like this")
    else:
        yield Argument(path, printable(argument), Path(path.name))


def _expand_folder(folder: Path) -> Iterator[Argument | AudioError]:
    problems: list[AudioError] = []
    files = [path for path in walk_files(folder, problems) if path.suffix.lower() in READABLE | UNREADABLE]
    for path in files:
        if problem := type_problem(path):
            yield AudioError(path, problem)
        else:
            yield Argument(path, printable(path), path.relative_to(folder))
    yield from problems
    if not files and not problems:
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
