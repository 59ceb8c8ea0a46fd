"""Export to one ``.onnx`` file that describes its own inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bigfoot.compress.quantize import Int8Plan
from bigfoot.errors import MissingExtraError
from bigfoot.export.exported import GivesLogits, Run, save_files
from bigfoot.export.facts import check_exportable, describe
from bigfoot.export.forms import OWN_FORM, GraphForm
from bigfoot.export.graph import write_graph
from bigfoot.export.layers import LayerError, measure_layers
from bigfoot.formats.folder import LoadedModel
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.runtime.onnx_engine import session_options
from bigfoot.storage.ownership import OWN_ONLY, MayReplace

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession


def require_onnx() -> None:
    """Raise an error that names the missing extra.

    Raises:
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    for package in ("onnx", "onnxruntime"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError("onnx", package) from error


@dataclass(frozen=True)
class OnnxExport(GivesLogits):
    """A graph with what is needed to check it; see ``Exported``.

    Args:
        graph: ONNX, with its metadata.
        plan: layers in int8; none in fp32.
        layers: tensors that go into each layer and come out of it.
    """

    graph: ModelProto
    plan: Int8Plan
    layers: dict[str, tuple[list[str], list[str]]]

    @property
    def facts(self) -> dict[str, str]:
        """See ``Exported``."""
        return {fact.key: fact.value for fact in self.graph.metadata_props}

    def open(self) -> Run:
        """See ``Exported``."""
        session = open_graph(self.graph)

        def run(input_values: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            logits, frames = session.run(["logits", "frames"], {"input_values": input_values, "lengths": lengths})
            return logits, frames

        return run

    def rank_layers(self, model: BigfootForCTC, input_values: Tensor, *, effects: bool = False) -> list[LayerError]:
        """See ``Exported``."""
        return measure_layers(model, self.graph, self.layers, input_values, effects=effects)

    def save(self, path: Path, may: MayReplace = OWN_ONLY) -> None:
        """See ``Exported``."""
        save_onnx(self.graph, path, may)


@dataclass(frozen=True)
class OfGraph:
    """An export that is made of a graph.

    Args:
        origin: the graph.
    """

    origin: OnnxExport

    @property
    def plan(self) -> Int8Plan:
        """See ``Exported``."""
        return self.origin.plan

    @property
    def facts(self) -> dict[str, str]:
        """See ``Exported``."""
        return self.origin.facts


def open_graph(graph: ModelProto) -> InferenceSession:
    """Open a graph as it will be read from the disk, on as many threads as torch has."""
    import onnxruntime

    options = session_options(max(1, torch.get_num_threads()))
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph.SerializeToString(), options)


@torch.no_grad()
def build_onnx(
    loaded: LoadedModel, plan: Int8Plan | None = None, *, normalize: bool = False, batch_invariant: bool | None = None,
    form: GraphForm = OWN_FORM,
) -> OnnxExport:  # fmt: skip
    """Write a model as an ONNX graph; batch and time stay open.

    Args:
        loaded: with a CTC head.
        plan: layers that compute in int8; all in fp32 without one.
        normalize: bring utterances to zero mean and unit variance in the graph, where the model asks for it.
        batch_invariant: what the file states about batches; by default that they change nothing where ranges are known.
        form: of inputs and outputs.

    Returns:
        The graph with its metadata.

    Raises:
        ModelError: no CTC head, or something that has no form there.
        MissingExtraError: the extra ``[onnx]`` is not installed.
    """
    require_onnx()
    check_exportable(loaded)
    plan = plan or Int8Plan()
    inside = normalize and loaded.processor.do_normalize
    graph, writer = write_graph(loaded.model.float().eval(), plan, inside, form)
    precision = "fp32" if not plan.ranges else "int8_static" if plan.is_static else "int8_dynamic"
    facts = describe(
        loaded.model.config, loaded.processor, normalize=inside, precision=precision,
        batch_invariant=plan.is_static if batch_invariant is None else batch_invariant,
    )  # fmt: skip
    set_metadata(graph, facts)
    return OnnxExport(graph, plan, writer.layers)


def set_metadata(graph: ModelProto, facts: dict[str, str]) -> None:
    """Store facts in a graph in place of its metadata.

    Args:
        graph: changed in place.
        facts: by name.
    """
    del graph.metadata_props[:]
    for name, value in facts.items():
        graph.metadata_props.add(key=name, value=value)


def save_onnx(graph: ModelProto, path: Path, may: MayReplace = OWN_ONLY) -> None:
    """Write a graph whole or not at all.

    Args:
        graph: what to write.
        path: of the file; one that bigfoot exported there is replaced.
        may: what else may be replaced.
    """
    save_files({path: graph.SerializeToString()}, may)
