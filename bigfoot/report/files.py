"""Write files of a report: atomically, in UTF-8 and strict JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bigfoot.storage.lock import locked
from bigfoot.storage.ownership import OWN_ONLY, MayReplace, check_file
from bigfoot.storage.replace import write_file


def write_whole(
    path: Path, content: bytes, *, sign: str = "", key: str = "rows", may: MayReplace = OWN_ONLY
) -> None:
    """Write a file atomically: to a temporary one that is then moved, so that it is never partial.

    Args:
        path: file to write; its folder is created if missing.
        content: all of it.
        sign: JSON file in the folder that identifies output of an earlier version.
        key: that it contains in this case.
        may: what may be replaced, besides bigfoot's output.

    Raises:
        OutputError: the file exists and is not bigfoot's.
    """
    write_file(path, content, may=may, is_own=_signed(sign, key))


def write_set(
    folder: str | Path, contents: Mapping[str, bytes], *, sign: str, key: str = "rows", may: MayReplace = OWN_ONLY
) -> None:
    """Write files that belong together, in order, each as ``write_whole`` does; no other process writes between them.

    Args:
        folder: created if missing.
        contents: by name.
        sign: see ``write_whole``.
        key: likewise.
        may: likewise.

    Raises:
        OutputError: a file is there that is not bigfoot's, or another process writes in the folder.
    """
    with locked(folder, inside=True):
        for name, content in contents.items():
            write_whole(Path(folder) / name, content, sign=sign, key=key, may=may)


def check_whole(path: Path, *, sign: str = "", key: str = "rows", may: MayReplace = OWN_ONLY) -> None:
    """Raise what ``write_whole`` would raise, before anything is measured."""
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
    r"""Encode strict JSON: non-finite numbers become null, numpy scalars become plain.

    Examples:
        >>> encode_json({"loss": float("nan")})
        b'{\n  "loss": null\n}\n'
    """
    return encode_text(json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def encode_text(text: str) -> bytes:
    r"""Encode UTF-8; undecodable bytes of a file name are escaped, as in JSON.

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
