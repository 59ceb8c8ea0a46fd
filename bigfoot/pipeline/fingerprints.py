"""Fingerprints: whether a run folder's content is what the current configuration would produce."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path

from bigfoot.formats.onnx_ctc import is_onnx, list_graph_files
from bigfoot.storage.digests import digest_file
from bigfoot.storage.remote import fetch


def fingerprint(*parts: object) -> str:
    """Compute the digest of plain values.

    Args:
        parts: JSON-serializable values.

    Returns:
        16 hexadecimal digits.

    Examples:
        >>> fingerprint({"a": 1}) == fingerprint({"a": 1}), fingerprint(1) == fingerprint(2)
        (True, False)
    """
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_OF_A_MODEL = (".json", ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".txt", ".model")


def fingerprint_files(folder: Path, leave_out: Collection[Path] = ()) -> str:
    """Compute the digest of a model folder's files; for a single file, of it and of the files that describe it.

    Args:
        folder: of ``resolve_model``. For a bundle, which has no path, the digest is of its name.
        leave_out: files of it that do not count.
    """
    found = [] if folder.exists() else [(str(folder), "")]
    beside = [folder, *folder.parent.glob("*.json"), *folder.parent.glob("*.txt")] if folder.is_file() else []
    # A graph that was exported into a model's folder is no part of the model.
    graph = list_graph_files(folder) if is_onnx(folder) else []
    for path in sorted({*beside, *folder.glob("*"), *graph}):
        if path.is_file() and (path.suffix in _OF_A_MODEL or path in graph) and path not in leave_out:
            found.append((path.name, digest_file(path)))
    return fingerprint(found)


def digest_files(*paths: str | None) -> list[str]:
    """Compute the digests of single files; None and missing files are skipped.

    Args:
        paths: such as ``evaluate.lm_path``.
    """
    files = [fetch(path).expanduser() for path in paths if path is not None]
    return [digest_file(file) for file in files if file.is_file()]
