"""JSON files of a model folder, whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from bigfoot.errors import ModelError


def read_json(path: Path) -> dict[str, Any]:
    """Read an object; an absent file is an empty one.

    Raises:
        ModelError: it is no JSON, or no object.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"{path}: not JSON ({error}); the file is damaged or half copied") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: expected an object with keys, found {type(content).__name__}")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an object beside its place, then move it there."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, path)
