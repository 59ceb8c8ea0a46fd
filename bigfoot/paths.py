"""Files as a file system has them: names of any bytes, and paths that are no files."""

from __future__ import annotations

import os
import stat
import unicodedata
from pathlib import Path

MODEL_SUFFIXES = (".onnx", ".xml", ".tflite", ".pte")
"""Of exported files that bigfoot runs by their own runtimes."""

# Control characters, halves of surrogate pairs, and what ends a line.
_ESCAPED = frozenset(("Cc", "Cs", "Zl", "Zp"))


def printable(name: str | os.PathLike[str]) -> str:
    r"""Escape what cannot be printed in a name: bytes that are not UTF-8, line ends and control characters.

    Args:
        name: a path, or any text.

    Returns:
        One line that encodes as UTF-8; the name itself where nothing needs an escape.

    Examples:
        >>> [printable(name) for name in ("caf\udce9.wav", "two\nlines.wav", "naïve.wav")] == [
        ...     r"caf\xe9.wav", r"two\nlines.wav", "naïve.wav"]
        True
    """
    text = os.fspath(name)
    return text if text.isascii() and text.isprintable() else "".join(map(_escape, text))


def _escape(character: str) -> str:
    if unicodedata.category(character) not in _ESCAPED:
        return character
    # A byte that is not UTF-8 comes from the system as half of a surrogate pair (PEP 383).
    if 0xDC80 <= ord(character) <= 0xDCFF:
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def is_utf8(text: str | os.PathLike[str]) -> bool:
    r"""Return whether a name, or any text, can be written as UTF-8.

    Examples:
        >>> is_utf8("naïve.wav"), is_utf8("caf\udce9.wav")
        (True, False)
    """
    try:
        os.fspath(text).encode()
    except UnicodeEncodeError:
        return False
    return True


def file_problem(path: Path) -> str | None:
    """Explain why a path is no file that can be read, without opening it: opening a pipe waits for a writer.

    Args:
        path: anything.

    Returns:
        A few words; None for a regular file with at least one byte.

    Examples:
        >>> file_problem(Path("/nowhere/a.wav")), file_problem(Path("/"))
        ('no such file', 'a folder, not a file')
    """
    try:
        # Not is_file(): it lets some of the system's errors through (a forbidden folder, an endless name).
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return f"a link to {printable(os.readlink(path))}, which is missing" if path.is_symlink() else "no such file"
    except (OSError, ValueError) as error:
        return f"cannot be opened ({getattr(error, 'strerror', None) or error})"
    if stat.S_ISDIR(status.st_mode):
        return "a folder, not a file"
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if not os.access(path, os.R_OK):
        return "cannot be opened (no permission to read it)"
    return "the file is empty (0 bytes)" if status.st_size == 0 else None
