"""Fingerprints: whether what lies in a run folder is what the configuration would make now."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from bigfoot.storage.digests import digest_file


def fingerprint(*parts: object) -> str:
    """Digest of plain values.

    Args:
        parts: what JSON can say.

    Returns:
        16 hexadecimal digits.

    Examples:
        >>> fingerprint({"a": 1}) == fingerprint({"a": 1}), fingerprint(1) == fingerprint(2)
        (True, False)
    """
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_OF_A_MODEL = (".json", ".safetensors", ".bin", ".pt", ".pth", ".txt", ".model")


def fingerprint_files(folder: Path) -> str:
    """Digest of the contents of a model folder's files; of a file, of it and of what lies beside it and describes it.

    Args:
        folder: of ``resolve_model``. Of a bundle's name, which is no path, it is the digest.
    """
    found = [] if folder.exists() else [(str(folder), "")]
    beside = [folder, *folder.parent.glob("*.json"), *folder.parent.glob("*.txt")] if folder.is_file() else []
    for path in sorted({*beside, *folder.glob("*")}):
        if path.is_file() and path.suffix in _OF_A_MODEL:
            found.append((path.name, digest_file(path)))
    return fingerprint(found)


def digest_files(*paths: str | None) -> list[str]:
    """Digests of the contents of single files, those that are given and there.

    Args:
        paths: such as ``evaluate.lm_path``.
    """
    files = [Path(path).expanduser() for path in paths if path is not None]
    return [digest_file(file) for file in files if file.is_file()]
