"""Folders of what can be computed again, marked as backup programs know it (CACHEDIR.TAG, bford.info/cachedir)."""

from __future__ import annotations

from pathlib import Path

_TAG = "CACHEDIR.TAG"
_SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55"


def mark_cache(folder: Path) -> None:
    """Mark a folder as one that may be removed at any time, and is not copied to the cloud.

    Args:
        folder: made where missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tag = folder / _TAG
    if not tag.exists():
        tag.write_text(f"{_SIGNATURE}\n# bigfoot computes what is here again where it is missing.\n", encoding="utf-8")


def is_in_cache(path: Path, below: Path) -> bool:
    """Return whether a file lies in a marked folder.

    Args:
        path: of the file.
        below: where folders count from.

    Examples:
        >>> import tempfile
        >>> home = Path(tempfile.mkdtemp())
        >>> mark_cache(home / "frames")
        >>> is_in_cache(home / "frames" / "a" / "b", home), is_in_cache(home / "c", home)
        (True, False)
    """
    found = [parent / _TAG for parent in path.parents if parent.is_relative_to(below)]
    return any(tag.is_file() and tag.read_bytes().startswith(_SIGNATURE.encode()) for tag in found)
