"""Files of a report: whole or not at all, in UTF-8 and JSON that any parser takes."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there, so that no reader and no kill ever leaves half of it.

    Args:
        path: file to write; its folder is made if it is missing.
        content: all of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def encode_json(content: Mapping[str, Any]) -> bytes:
    r"""Write JSON that any parser takes: numbers that are not finite become null, numpy's become plain.

    Example:
        >>> encode_json({"loss": float("nan")})
        b'{\n  "loss": null\n}\n'
    """
    return encode_text(json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def encode_text(text: str) -> bytes:
    r"""Write UTF-8; of a file's name that is none, what cannot be said is spelled out, as JSON spells it.

    Example:
        >>> encode_text("\udcff.wav")
        b'\\udcff.wav'
    """
    return text.encode(errors="backslashreplace")


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a record or a config holds
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and callable(value.item):  # a scalar of numpy or torch
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
