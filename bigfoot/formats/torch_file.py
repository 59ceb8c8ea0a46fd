"""What ``torch.save`` wrote, read without running code from it; see ``torch_layout``.

The tensors stay in the file until they are asked for, for a checkpoint holds its optimizer's too, twice the model's
size.
"""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from bigfoot.errors import ModelError
from bigfoot.formats.first_look import look_first
from bigfoot.formats.safe_pickle import UnsafePickleError
from bigfoot.formats.torch_layout import StoredTensor, has_torch_signature, read_layout


@dataclass(frozen=True)
class TorchFile:
    """A PyTorch file, opened.

    Args:
        path: the file.
        content: what it holds, with a ``StoredTensor`` for each tensor.
    """

    path: Path
    content: object

    def read(self, tensors: Mapping[str, StoredTensor]) -> dict[str, Tensor]:
        """Read tensors, each into memory of its own.

        Args:
            tensors: by name, out of ``content``.

        Returns:
            The same names with tensors as they were saved.

        Raises:
            ModelError: they would take more memory than twice what the file has, or it ends before them.
        """
        wanted = sum(tensor.extent * tensor.storage.itemsize for tensor in tensors.values())
        # Twice, for the sake of weights that are shared.
        if wanted > 2 * os.path.getsize(self.path):
            raise ModelError(f"{self.path}: its tensors take {wanted} bytes, more than the file has; it is hostile")
        with self.path.open("rb") as file:
            return {name: _read_tensor(file, tensor) for name, tensor in tensors.items()}


def _read_tensor(file: BinaryIO, stored: StoredTensor) -> Tensor:
    storage = stored.storage
    dtype: torch.dtype = getattr(torch, storage.dtype)
    if not stored.extent or storage.position is None:
        return torch.empty(stored.shape, dtype=dtype)
    data = bytearray(stored.extent * storage.itemsize)
    file.seek(storage.position + stored.offset * storage.itemsize)
    if file.readinto(data) != len(data):  # type: ignore[attr-defined]
        raise ModelError(f"{file.name}: it ends in the middle of storage {storage.key!r}")
    numbers = torch.frombuffer(data, dtype=dtype)
    return numbers.as_strided(stored.shape, stored.stride).contiguous()


def is_torch_file(path: Path) -> bool:
    """Return whether a file has the first bytes of ``torch.save``, today or before 1.6."""
    with path.open("rb") as file:
        return has_torch_signature(file.read(16))


def open_torch_file(path: Path) -> TorchFile:
    """Read what a PyTorch file holds, but for the numbers of its tensors, and run nothing of it.

    Args:
        path: the file.

    Returns:
        The file, opened.

    Raises:
        ModelError: it is none, damaged, asks for more than tensors, containers and records, or takes too long.
    """
    try:
        look_first(path)
        with path.open("rb") as file:
            return TorchFile(path, read_layout(file))
    except (OSError, EOFError, ValueError, RuntimeError, struct.error, zipfile.BadZipFile, UnsafePickleError) as error:
        # Errors of zipfile for archives that are damaged, or that it does not know.
        raise ModelError(f"{path} cannot be read: {error}") from error


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a PyTorch file of nothing but named tensors, as Hugging Face's and torchaudio's are.

    ``torch.load`` with ``weights_only=True`` is not asked: it has run code in some versions of PyTorch, and takes
    sizes on trust.

    Raises:
        ModelError: the file cannot be read, or holds something else.
    """
    opened = open_torch_file(path)
    content = opened.content
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, StoredTensor) for name, tensor in content.items()
    ):
        raise ModelError(f"{path} cannot be read as a state dict: it holds more, or less, than named tensors")
    return opened.read(content)
