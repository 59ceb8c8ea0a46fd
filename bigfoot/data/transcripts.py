"""Transcripts in files of their own, whatever is wrong with them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from bigfoot.errors import DataError
from bigfoot.paths import file_problem, is_utf8, printable

_MOST_BYTES = 64_000_000
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_text_file(
    path: Path, *, errors: Literal["strict", "replace", "surrogateescape"] = "strict",
    most_bytes: int | None = _MOST_BYTES,
) -> str:  # fmt: skip
    """Read a file of text.

    Args:
        path: UTF-8, with or without a byte order mark, or UTF-16 with one.
        errors: ``replace`` puts U+FFFD for what is not in that encoding, which costs a line instead of the file;
            ``surrogateescape`` leaves it in the text, and NUL characters too: see ``characters_problem``.
        most_bytes: what has more is no transcript; None for any size.

    Returns:
        The text as it stands; an empty file's is empty.

    Raises:
        DataError: missing, a pipe or a folder, too large, or in another encoding.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "a.txt")
        >>> _ = path.write_text("ONE TWO", encoding="utf-16")
        >>> read_text_file(path)
        'ONE TWO'
    """
    if problem := file_problem(path):
        if path.is_file() and path.stat().st_size == 0:
            return ""
        raise DataError(f"its text {printable(path.name)}: {problem}")
    try:
        size = path.stat().st_size
        if most_bytes is not None and size > most_bytes:
            raise DataError(f"its text {printable(path.name)} has {size:,} bytes; {most_bytes:,} at most")
        content = path.read_bytes()
        text = content.decode("utf-16" if content.startswith(_UTF16) else "utf-8-sig", errors)
    except OSError as error:
        raise DataError(f"its text {printable(path.name)} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"its text {printable(path.name)} is not UTF-8 ({error}); convert it with iconv") from error
    if "\0" in text and errors != "surrogateescape":
        raise DataError(f"its text {printable(path.name)} holds NUL characters; save it as UTF-8")
    return text


def characters_problem(text: str) -> str | None:
    r"""Explain why characters that were read with ``surrogateescape``, or as escapes, are no text; None for text.

    Examples:
        >>> characters_problem("caf\udce9"), characters_problem("caf\u00e9")
        ('is not UTF-8; convert it with iconv', None)
    """
    if not is_utf8(text):
        return "is not UTF-8; convert it with iconv"
    return "holds NUL characters" if "\0" in text else None


def read_text_lines(path: Path) -> list[str]:
    r"""Read the lines of a file of text; what is not UTF-8 in one is U+FFFD there.

    Args:
        path: see ``read_text_file``.

    Returns:
        The lines without their ends, the empty ones too.

    Raises:
        DataError: see ``read_text_file``.
    """
    return split_lines(read_text_file(path, errors="replace"))


def split_lines(text: str) -> list[str]:
    r"""Split text at the ends of its lines: ``\n``, ``\r\n``, or ``\r`` where there is neither, and nowhere else.

    ``str.splitlines`` also cuts at U+2028, U+0085 and others, which stand inside of transcripts.

    Examples:
        >>> split_lines("a\u2028b\r\nc\n") == ["a\u2028b", "c"]
        True
    """
    end = "\n" if "\n" in text else "\r"
    lines = [line.removesuffix("\r") for line in text.split(end)]
    return lines[:-1] if lines[-1] == "" else lines


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Read lines of a key, white space, and the rest.

    Args:
        path: see ``read_text_lines``; a file that is missing holds none.

    Returns:
        Keys and rests, in order.

    Raises:
        DataError: see ``read_text_file``.
    """
    if not os.path.lexists(path):
        return []
    pairs = (line.split(maxsplit=1) for line in read_text_lines(path) if line.strip())
    return [(pair[0], pair[1].strip() if len(pair) > 1 else "") for pair in pairs]
