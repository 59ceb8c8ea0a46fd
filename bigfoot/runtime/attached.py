"""Facts about a model in a ZIP archive behind its file, as TensorFlow Lite keeps metadata; runtimes read past them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

from bigfoot.errors import ModelError
from bigfoot.text.json_files import parse_json

FACTS_FILE = "bigfoot.json"
"""Name in the archive."""


def attach_facts(content: bytes, facts: Mapping[str, str]) -> bytes:
    """Put facts behind a file.

    Args:
        content: of the file.
        facts: see ``bigfoot.runtime.metadata``.

    Examples:
        >>> attach_facts(b"weights", {"stride": "320"}).startswith(b"weights")
        True
    """
    file = io.BytesIO(content)
    file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(zipfile.ZipInfo(FACTS_FILE), json.dumps(facts, ensure_ascii=False))
    return file.getvalue()


def read_attached(path: Path) -> dict[str, str]:
    """Read the facts behind a file.

    Args:
        path: of the file.

    Raises:
        ModelError: no such file, or it has none that can be read: it is another program's, or cut off.
    """
    if not path.is_file():
        raise ModelError(f"no file at {path}; bigfoot export writes it")
    try:
        with zipfile.ZipFile(path) as archive:
            found = parse_json(archive.read(FACTS_FILE).decode("utf-8"))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise ModelError(
            f"{path}: without bigfoot's metadata: another program wrote it, or it is cut off; export it again ({error})"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ModelError(f"{path}: its metadata is no object of strings; export the model again")
    return found
