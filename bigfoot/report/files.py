"""Files of a report: whole or not at all, in UTF-8 and JSON that any parser takes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bigfoot.storage.ownership import OWN_ONLY, MayReplace, check_file
from bigfoot.storage.replace import write_file


def write_whole(
    path: Path, content: bytes, *, sign: str = "", key: str = "rows", may: MayReplace = OWN_ONLY
) -> None:
    """Write a file beside its place and move it there, so that no reader and no kill ever leaves half of it.

    Args:
        path: file to write; its folder is made if it is missing.
        content: all of it.
        sign: JSON file of the folder by which what an earlier version wrote there is recognized.
        key: that it has then.
        may: what may be replaced, besides what bigfoot wrote.

    Raises:
        OutputError: something else is there.
    """
    write_file(path, content, may=may, is_own=_signed(sign, key))


def check_whole(path: Path, *, sign: str = "", key: str = "rows", may: MayReplace = OWN_ONLY) -> None:
    """Refuse what ``write_whole`` would refuse, before anything is measured."""
    check_file(path, may, _signed(sign, key))


def _signed(sign: str, key: str) -> Callable[[Path], bool]:
    return lambda path: bool(sign) and _has_key(path.with_name(sign), key)


def _has_key(file: Path, key: str) -> bool:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and key in content


def encode_json(content: Mapping[str, Any]) -> bytes:
    r"""Write JSON that any parser takes: numbers that are not finite become null, numpy's become plain.

    Examples:
        >>> encode_json({"loss": float("nan")})
        b'{\n  "loss": null\n}\n'
    """
    return encode_text(json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def encode_text(text: str) -> bytes:
    r"""Write UTF-8; of a file's name that is none, bytes that are not text are escaped, as in JSON.

    Examples:
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
