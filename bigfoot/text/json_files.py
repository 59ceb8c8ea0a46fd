"""JSON files that stand beside a model: settings and vocabularies, from wherever the model came."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from bigfoot.errors import ModelError
from bigfoot.storage.replace import swapped_in

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
MAX_JSON_BYTES = 4 * 2**20
"""Of one file: the longest vocabularies of characters have some hundred thousand. So much is parsed in a second."""


def parse_json(text: str) -> Any:  # noqa: ANN401 - whatever it holds
    """Parse JSON of any origin.

    Args:
        text: the JSON.

    Returns:
        What it holds.

    Raises:
        ValueError: it is no JSON, is nested too deeply, or has half of a surrogate pair, which no file can be written
            with again.

    Examples:
        >>> parse_json("[" * 100_000)
        Traceback (most recent call last):
        ValueError: it is nested too deeply
    """
    try:
        loaded = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if _SURROGATE.search(text):
        # Two halves in a row are one character, and come out as such.
        try:
            json.dumps(loaded, ensure_ascii=False).encode()
        except (UnicodeEncodeError, RecursionError) as error:
            raise ValueError("one of its strings has half of a surrogate pair, which is no character") from error
    return loaded


def read_json(path: Path, most: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        ModelError: missing, not a JSON object, or larger than such files are.

    Examples:
        >>> read_json(Path("nothing.json"))
        Traceback (most recent call last):
        bigfoot.errors.ModelError: nothing.json cannot be read: there is no such file
    """
    if not path.is_file():
        # Nor is a pipe read, which might never end.
        raise ModelError(f"{path} cannot be read: there is no such file")
    try:
        with path.open("rb") as file:
            raw = file.read(most + 1)
        if len(raw) > most:
            raise ModelError(f"{path} has more than {most} bytes, where a model's settings have thousands")
        loaded = parse_json(raw.decode("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}; it is no JSON, damaged or half copied") from error
    if not isinstance(loaded, dict):
        raise ModelError(f"{path} should hold a JSON object, and holds a {type(loaded).__name__}")
    return loaded


def read_json_if_there(path: Path, most: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Read a JSON object; an absent file is an empty one.

    Args:
        path: the file.
        most: see ``read_json``.

    Raises:
        ModelError: as of ``read_json``.
    """
    return read_json(path, most) if path.is_file() else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object beside its place, then move it there."""
    with swapped_in(path) as part:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
