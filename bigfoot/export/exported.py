"""What the gate asks of a file, whatever its format."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from torch import Tensor

from bigfoot.compress.quantize import Int8Plan
from bigfoot.export.layers import LayerError
from bigfoot.models.ctc import BigfootForCTC

Run: TypeAlias = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From samples (B, N) and lengths (B,) to logits (B, T, V) and real frames (B,)."""


class Exported(Protocol):
    """A model as it will be written."""

    @property
    def plan(self) -> Int8Plan:
        """Layers in int8; none in fp32."""

    @property
    def facts(self) -> Mapping[str, str]:
        """What the file says of itself; see ``bigfoot.export.facts.describe``."""

    def open(self) -> Run:
        """Read it as it will be read from the disk, and run it by the runtime that it is for."""

    def rank_layers(self, model: BigfootForCTC, input_values: Tensor, *, effects: bool = False) -> list[LayerError]:
        """How far each layer is off by itself, the worst first; nothing where layers cannot be told apart.

        Args:
            model: that it was written from.
            input_values: (1, N), an utterance without padding, normalized.
            effects: see ``measure_layers``.
        """

    def save(self, path: Path) -> None:
        """Write it whole or not at all; an older one there is replaced."""


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Write files that belong together: none is replaced before all are on the disk.

    Args:
        contents: by path.
    """
    parts = {path: path.with_name(f".{path.name}.part") for path in contents}
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        parts[path].write_bytes(content)
    for path, part in parts.items():
        os.replace(part, path)
