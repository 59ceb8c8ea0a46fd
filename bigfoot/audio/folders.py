"""Find the files below a folder."""

from __future__ import annotations

import os
from pathlib import Path

from bigfoot.errors import AudioError

READABLE = frozenset(
    (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".snd", ".caf", ".w64", ".rf64", ".sph")
)
"""Suffixes, in lower case, by which audio that soundfile reads is found in a folder."""
UNREADABLE = frozenset(
    (".m4a", ".mp4", ".aac", ".wma", ".webm", ".amr", ".3gp", ".mka", ".mkv", ".mov", ".ape", ".wv", ".ac3")
)
"""Suffixes of audio that it does not read, and that must not be passed over in silence."""


def type_problem(path: Path) -> str | None:
    """Explain why a file's type, by its suffix, cannot be read.

    Examples:
        >>> type_problem(Path("a.M4A"))
        'soundfile cannot read .m4a; convert it, such as to .flac with ffmpeg'
    """
    suffix = path.suffix.lower()
    return f"soundfile cannot read {suffix}; convert it, such as to .flac with ffmpeg" if suffix in UNREADABLE else None


def find_audio(folder: Path, problems: list[AudioError] | None = None) -> list[Path]:
    """Find the audio that soundfile reads anywhere below a folder.

    Args:
        folder: to search; hidden files and folders are passed over.
        problems: see ``walk_files``; also takes an error for each file of audio that soundfile does not read.

    Returns:
        The files, sorted, so that the same folder gives the same list on every machine.
    """
    files = walk_files(folder, problems)
    if problems is not None:
        problems += [AudioError(path, problem) for path in files if (problem := type_problem(path))]
    return [path for path in files if path.suffix.lower() in READABLE]


def walk_files(folder: Path, problems: list[AudioError] | None = None) -> list[Path]:
    """Find the files anywhere below a folder, sorted; hidden ones are passed over.

    Args:
        folder: to search.
        problems: takes an error for each folder that cannot be listed, each link that leads to no folder, and each
            folder that is named like audio but holds no file.
    """
    found: list[Path] = []
    errors: list[AudioError] = []
    named_like_audio: list[Path] = []
    seen: set[str] = set()

    def note(error: OSError) -> None:
        errors.append(AudioError(Path(error.filename), f"a folder that cannot be listed ({error.strerror})"))

    # Links to folders are followed: that is how people put a corpus together. Hidden are macOS's ._NAME.wav too.
    for place, folders, names in os.walk(folder, onerror=note, followlinks=True):
        # A link may lead back to where it lies.
        if os.path.realpath(place) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        named_like_audio += [Path(place, name) for name in folders if Path(name).suffix.lower() in READABLE]
        for path in (Path(place, name) for name in names if not name.startswith(".")):
            if not path.suffix and path.is_symlink() and not os.path.exists(path):
                errors.append(AudioError(path, "a link to a file or folder that is missing"))
            else:
                found.append(path)
    errors += [AudioError(path, "a folder, not a file") for path in named_like_audio if not _is_parent(path, found)]
    if problems is not None:
        problems += sorted(errors, key=lambda error: error.path)
    return sorted(found)


def _is_parent(folder: Path, paths: list[Path]) -> bool:
    return any(folder in path.parents for path in paths)
