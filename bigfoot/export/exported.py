"""The interface of an exported file that the gate uses, whatever its format."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from torch import Tensor

from bigfoot.compress.quantize import Int8Plan
from bigfoot.export.layers import LayerError
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.runtime.attached import FACTS_FILE
from bigfoot.runtime.openvino_engine import FACTS_KEY
from bigfoot.storage.ownership import OWN_ONLY, MayReplace
from bigfoot.storage.replace import write_files

Run: TypeAlias = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From samples (B, N) and lengths (B,) to logits (B, T, V) and real frames (B,)."""


class Exported(Protocol):
    """A model as it will be written."""

    @property
    def plan(self) -> Int8Plan:
        """Layers in int8; none in fp32."""

    @property
    def facts(self) -> Mapping[str, str]:
        """Facts stored in the file; see ``bigfoot.export.facts.describe``."""

    def expect(self, logits: np.ndarray) -> np.ndarray:
        """Compute what the file should give where the model gives these logits.

        Args:
            logits: (T, V), real frames of an utterance.
        """

    def open(self) -> Run:
        """Read it as it will be read from the disk, and run it by the runtime that it is for."""

    def rank_layers(self, model: BigfootForCTC, input_values: Tensor, *, effects: bool = False) -> list[LayerError]:
        """Return the error of each layer by itself, the worst first; nothing where layers cannot be separated.

        Args:
            model: that it was written from.
            input_values: (1, N), an utterance without padding, normalized.
            effects: see ``measure_layers``.
        """

    def save(self, path: Path, may: MayReplace = OWN_ONLY) -> None:
        """Write it whole or not at all.

        Args:
            path: of the file; one that bigfoot exported there is replaced.
            may: what else may be replaced.
        """


class GivesLogits:
    """A file that gives the model's logits as they are."""

    def expect(self, logits: np.ndarray) -> np.ndarray:
        """See ``Exported``."""
        return logits


def save_files(contents: Mapping[Path, bytes], may: MayReplace = OWN_ONLY) -> None:
    """Write the files of an export, none before all are on the disk; see ``Exported.save``.

    Args:
        contents: by path.
        may: what may be replaced, besides files that bigfoot exported.
    """
    write_files(contents, may=may, is_own=is_exported, listed=False)


def is_exported(path: Path) -> bool:
    """Return whether a file's metadata names bigfoot as its exporter.

    Args:
        path: an ONNX graph, a ``.pt2`` program, an ``.xml`` of OpenVINO or the ``.bin`` that belongs to one.
    """
    if path.suffix == ".bin":
        return path.with_suffix(".xml").is_file() and is_exported(path.with_suffix(".xml"))
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any(Path(name).name == FACTS_FILE for name in archive.namelist())
    content = path.read_bytes()
    if content.lstrip()[:1] == b"<":
        return f"<{FACTS_KEY}>".encode() in content
    # A graph starts with its version and producer.
    return b"bigfoot" in content[:64]
