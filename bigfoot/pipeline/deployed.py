"""Choose what is timed of a run's models: the model itself, or the exported file if layers compute in int8."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import PreTrainedModel

from bigfoot.compress.quantize import folder_plan
from bigfoot.errors import BigfootError
from bigfoot.export.onnx import build_onnx, save_onnx
from bigfoot.formats.folder import LoadedModel
from bigfoot.measure.deployed import DeployedModel


@dataclass
class Timed:
    """Models and files to time.

    Args:
        models: by row; rows without a model are not timed.
        files: exported ones by row, valid inside the ``with`` block.
        notes: remarks for the report, one sentence each.
    """

    models: dict[str, PreTrainedModel | DeployedModel] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@contextmanager
def open_timed(loaded: Mapping[str, LoadedModel]) -> Iterator[Timed]:
    """Export models that compute in int8; PyTorch only simulates the rounding of such a file, and is slower.

    Args:
        loaded: by row.

    Yields:
        See ``Timed``.
    """
    timed = Timed()
    with TemporaryDirectory() as place:
        for row, model in loaded.items():
            plan = folder_plan(model.model)
            if plan is None:
                timed.models[row] = model.model
                continue
            file = Path(place) / f"{row}.onnx"
            try:
                save_onnx(build_onnx(model, plan).graph, file)
                timed.models[row] = DeployedModel(file)
            except BigfootError as error:
                timed.notes.append(f"{row}: no speed, because only its exported file computes in int8: {error}")
                continue
            timed.files[row] = file
            timed.notes.append(f"{row}: speed and memory are those of its exported file on ONNX Runtime")
        yield timed
