"""Where a checkpoint lies: files of PyTorch's, in which fairseq and torchaudio keep a model."""

from __future__ import annotations

from pathlib import Path

from bigfoot.errors import ModelError

CHECKPOINT_SUFFIXES = (".pt", ".pth", ".ckpt")


TENSOR_SUFFIXES = (*CHECKPOINT_SUFFIXES, ".safetensors", ".bin")
"""Of files that hold a model's tensors; those of Hugging Face's folders are read alone with a shape from elsewhere."""


def find_checkpoint(path: Path) -> Path | None:
    """Return the one checkpoint file that a path names or, as a folder without ``config.json``, holds.

    Args:
        path: file or folder; it need not be there.

    Returns:
        The file; None where there is none.

    Raises:
        ModelError: the folder holds several.
    """
    if path.is_file():
        return path if path.suffix in CHECKPOINT_SUFFIXES else None
    if not path.is_dir() or (path / "config.json").exists():
        return None
    found = sorted(file for file in path.iterdir() if file.suffix in CHECKPOINT_SUFFIXES and file.is_file())
    if len(found) > 1:
        raise ModelError(f"{path} holds {len(found)} checkpoints; name one of {', '.join(file.name for file in found)}")
    return found[0] if found else None
