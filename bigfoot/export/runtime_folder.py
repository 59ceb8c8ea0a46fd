"""Export to a folder that another runtime opens: a graph in its form, and its vocabulary beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from torch import Tensor

from bigfoot.errors import ModelError
from bigfoot.export.exported import Run
from bigfoot.export.facts import check_exportable
from bigfoot.export.forms import GraphForm, GreedyForm
from bigfoot.export.layers import LayerError
from bigfoot.export.onnx import OfGraph, OnnxExport, open_graph, set_metadata
from bigfoot.formats.folder import LoadedModel
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.storage.ownership import OWN_ONLY, MayReplace
from bigfoot.storage.replace import replace_folder
from bigfoot.text.symbols import Symbols, read_symbols
from bigfoot.types import SAMPLE_RATE

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

GRAPH_FILE = "model.onnx"

RunSession: TypeAlias = "Callable[[InferenceSession, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]"
"""Runs a session as the runtime does: from samples (B, N) and lengths (B,) to logits and frames."""


@dataclass(frozen=True)
class RuntimeFolder(OfGraph):
    """A folder of one graph and small files; see ``Exported``.

    Args:
        origin: see ``OfGraph``.
        form: of its inputs and outputs.
        files: content by name, beside the graph.
        run: how the runtime runs it.
        graph_file: name of the graph within the folder.
    """

    form: GraphForm
    files: Mapping[str, bytes]
    run: RunSession
    graph_file: str = GRAPH_FILE

    def expect(self, logits: np.ndarray) -> np.ndarray:
        """See ``Exported``."""
        return self.form.expect(logits)

    def open(self) -> Run:
        """See ``Exported``."""
        session = open_graph(self.origin.graph)
        return lambda input_values, lengths: self.run(session, input_values, lengths)

    def rank_layers(self, model: BigfootForCTC, input_values: Tensor, *, effects: bool = False) -> list[LayerError]:
        """See ``Exported``."""
        return self.origin.rank_layers(model, input_values, effects=effects)

    def save(self, path: Path, may: MayReplace = OWN_ONLY) -> None:
        """Write the folder whole or not at all.

        Args:
            path: of the folder; one that bigfoot wrote there is replaced.
            may: what else may be replaced.
        """
        contents = {self.graph_file: self.origin.graph.SerializeToString(), **self.files}

        def write(folder: Path) -> None:
            for name, content in contents.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)

        replace_folder(path, write, may=may)


def name_runtime(origin: OnnxExport, runtime: str) -> OnnxExport:
    """Store in a graph for which runtime it is.

    Args:
        origin: its metadata is changed in place.
        runtime: of ``--to``.
    """
    set_metadata(origin.graph, {**origin.facts, "runtime": runtime})
    return origin


def read_greedy(loaded: LoadedModel) -> tuple[Symbols, GreedyForm]:
    """Return symbols and form for runtimes that take one utterance and the best token of every frame.

    Args:
        loaded: with a CTC head.

    Raises:
        ModelError: see ``check_rate`` and ``read_symbols``.
    """
    check_rate(loaded)
    assert loaded.processor.tokenizer is not None
    symbols = read_symbols(loaded.processor.tokenizer, str(loaded.folder))
    return symbols, GreedyForm(lengths="", size=len(symbols.names), blank=symbols.blank, merged=symbols.merged)


def check_rate(loaded: LoadedModel) -> None:
    """Check that a model takes audio as these runtimes give it.

    Raises:
        ModelError: another sample rate, or see ``check_exportable``.
    """
    check_exportable(loaded)
    if (rate := loaded.processor.sample_rate) != SAMPLE_RATE:
        raise ModelError(
            f"{loaded.folder}: takes audio at {rate} Hz, and this runtime gives {SAMPLE_RATE} Hz; --to onnx keeps it"
        )


def pad_rows(rows: list[np.ndarray]) -> np.ndarray:
    """Join outputs (T, V) of several lengths into one array with zeros behind the end."""
    longest = max(len(row) for row in rows)
    return np.stack([np.pad(row, ((0, longest - len(row)), (0, 0))) for row in rows])
