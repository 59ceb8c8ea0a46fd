"""Export to one ``.onnx`` file that runs chunk by chunk, with a state in and out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bigfoot.compress.quantize import Int8Plan
from bigfoot.errors import ModelError
from bigfoot.export.exported import GivesLogits, Run
from bigfoot.export.facts import check_text, describe
from bigfoot.export.layers import LayerError
from bigfoot.export.onnx import open_graph, require_onnx, save_onnx, set_metadata
from bigfoot.export.stream_graph import write_stream_graph
from bigfoot.formats.folder import LoadedModel
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.runtime.frame_stream import Floats, FrameStream, run_rows
from bigfoot.runtime.metadata import STREAMING, read_streaming
from bigfoot.storage.ownership import OWN_ONLY, MayReplace

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class StreamExport(GivesLogits):
    """A graph of one chunk; see ``Exported``.

    Args:
        graph: ONNX, with its metadata.
        plan: no layer is in int8.
    """

    graph: ModelProto
    plan: Int8Plan

    @property
    def facts(self) -> dict[str, str]:
        """See ``Exported``."""
        return {fact.key: fact.value for fact in self.graph.metadata_props}

    def open(self) -> Run:
        """See ``Exported``; recordings run chunk by chunk, one after the other."""
        session = open_graph(self.graph)

        def step(samples: np.ndarray, state: Floats) -> tuple[Floats, Floats]:
            logits, following = session.run(["logits", "next_state"], {"samples": samples, "state": state})
            return logits, following

        audio, stream = read_streaming(self.facts, "the graph")
        return lambda input_values, lengths: run_rows(FrameStream(step, audio, stream), input_values, lengths)

    def rank_layers(self, model: BigfootForCTC, input_values: Tensor, *, effects: bool = False) -> list[LayerError]:
        """See ``Exported``; layers cannot be separated."""
        return []

    def save(self, path: Path, may: MayReplace = OWN_ONLY) -> None:
        """See ``Exported``."""
        save_onnx(self.graph, path, may)


def check_streaming(loaded: LoadedModel) -> None:
    """Check that a model can be exported.

    Raises:
        ModelError: it reads whole recordings, or has no text to give.
    """
    check_text(loaded)
    if loaded.model.config.streaming is None:
        raise ModelError(
            f"{loaded.folder}: reads whole recordings; train a student that streams by student.streaming.chunk=320ms"
        )


@torch.no_grad()
def build_streaming(loaded: LoadedModel, plan: Int8Plan | None = None, *, normalize: bool = False) -> StreamExport:
    """Write a model that streams as a graph of one chunk.

    Args:
        loaded: see ``check_streaming``.
        plan: none: its layers stay in fp32.
        normalize: always: the graph follows the level of the audio.

    Raises:
        ModelError: see ``check_streaming``.
        MissingExtraError: the extra ``[onnx]`` is not installed.
    """
    require_onnx()
    check_streaming(loaded)
    graph, size = write_stream_graph(loaded.model.float().eval())
    shape = loaded.model.config.stream
    assert shape is not None
    stream = {"chunk": shape.chunk, "left": shape.left, "state": size}
    facts = describe(loaded.model.config, loaded.processor)
    set_metadata(graph, {**facts, "runtime": STREAMING, STREAMING: json.dumps(stream)})
    return StreamExport(graph, Int8Plan())
