"""Files of the same content under two names, stored once."""

from __future__ import annotations

import filecmp
import os
import stat
from contextlib import suppress
from pathlib import Path


def share_same_files(folder: Path, other: Path, pattern: str) -> int:
    """Replace files by hard links to files of the same name and content in another folder.

    What cannot be linked, such as across file systems, stays a file of its own.

    Args:
        folder: of this process, whose files are replaced.
        other: left as it is.
        pattern: of the names.

    Returns:
        Files that are shared now.

    Examples:
        >>> import tempfile
        >>> one, two = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
        >>> _ = (one / "a.txt").write_text("1"), (two / "a.txt").write_text("1")
        >>> share_same_files(one, two, "*.txt"), (one / "a.txt").samefile(two / "a.txt")
        (1, True)
    """
    count = 0
    for file in sorted(folder.glob(pattern)):
        twin, beside = other / file.name, file.with_name(f"{file.name}.shared")
        with suppress(OSError):
            beside.touch()
            usual = _mode(beside)
            beside.unlink()
            # A file of another mode is someone's own: the mode that is set here would be set there too.
            if twin.is_symlink() or _mode(twin) != usual or not filecmp.cmp(twin, file, shallow=False):
                continue
            os.link(twin, beside)
            beside.replace(file)
            count += 1
    return count


def _mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)
