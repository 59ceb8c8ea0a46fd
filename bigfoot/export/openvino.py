"""Export to OpenVINO: the graph of ``bigfoot.export.onnx`` as an ``.xml`` file with its weights in a ``.bin``."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bigfoot.compress.quantize import Int8Plan
from bigfoot.errors import ModelError
from bigfoot.export.exported import GivesLogits, Run, save_files
from bigfoot.export.forms import GraphForm
from bigfoot.export.layers import LayerError, measure_layers
from bigfoot.export.onnx import OfGraph, OnnxExport, build_onnx, set_metadata
from bigfoot.formats.folder import LoadedModel
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.runtime.openvino_engine import FACTS_KEY, REST_KEY, compile_ir, open_core, read_ir, require_openvino
from bigfoot.storage.ownership import OWN_ONLY, MayReplace

if TYPE_CHECKING:
    import openvino
    from onnx import ModelProto


_FORM = GraphForm(standard=True)


@dataclass(frozen=True)
class OpenVinoExport(GivesLogits, OfGraph):
    """Two files; see ``Exported``.

    Args:
        origin: see ``OfGraph``.
        xml: operators and metadata.
        weights: the ``.bin``.
    """

    xml: bytes
    weights: bytes

    def open(self) -> Run:
        """See ``Exported``."""
        with tempfile.TemporaryDirectory(prefix="bigfoot-") as folder:
            path = Path(folder) / "model.xml"
            self.save(path)
            # Compiled before the folder goes: weights are mapped from the disk until then.
            compiled = compile_ir(read_ir(path), path, torch.get_num_threads())

        def run(input_values: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            found = compiled({"input_values": input_values, "lengths": lengths})
            return found["logits"], found["frames"]

        return run

    def rank_layers(self, model: BigfootForCTC, input_values: Tensor, *, effects: bool = False) -> list[LayerError]:
        """See ``Exported``."""
        graph, layers = self.origin.graph, self.origin.layers
        return measure_layers(model, graph, layers, input_values, _run_piece, effects=effects)

    def save(self, path: Path, may: MayReplace = OWN_ONLY) -> None:
        """See ``Exported``."""
        save_files({path.with_suffix(".bin"): self.weights, path: self.xml}, may)


def build_openvino(
    loaded: LoadedModel, plan: Int8Plan | None = None, *, normalize: bool = False, batch_invariant: bool | None = None
) -> OpenVinoExport:
    """Convert a model by way of its ONNX graph; batch and time stay open.

    Args:
        loaded: with a CTC head.
        plan: see ``build_onnx``; ranges are known, for OpenVINO fuses no others. What computes in bfloat16 stays fp32
            in the file, which asks for it.
        normalize: see there.
        batch_invariant: see there.

    Raises:
        ModelError: no CTC head, or something that OpenVINO has no operator for.
        MissingExtraError: the extra ``[openvino]`` is not installed.
    """
    assert plan is None or plan.is_static, "refused before anything is loaded"
    origin = build_onnx(loaded, plan, normalize=normalize, batch_invariant=batch_invariant, form=_FORM)
    if plan is not None and plan.rest != "float32":
        precision = {} if plan.ranges else {"precision": plan.rest}
        set_metadata(origin.graph, {**origin.facts, **precision, REST_KEY: plan.rest})
    return OpenVinoExport(origin, *write_ir(origin))


def write_ir(origin: OnnxExport) -> tuple[bytes, bytes]:
    """Convert a graph.

    Args:
        origin: with standard operators.

    Returns:
        What the ``.xml`` and the ``.bin`` hold.

    Raises:
        ModelError: see ``build_openvino``.
    """
    model = _convert(origin.graph)
    for key, value in origin.facts.items():
        model.set_rt_info(value, [FACTS_KEY, key])
    with tempfile.TemporaryDirectory(prefix="bigfoot-") as folder:
        path = Path(folder) / "model.xml"
        require_openvino().save_model(model, path, compress_to_fp16=False)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def _convert(graph: ModelProto) -> openvino.Model:
    try:
        return open_core().read_model(graph.SerializeToString())
    except RuntimeError as error:
        raise ModelError(f"OpenVINO cannot convert this shape ({str(error)[:300]}); --to onnx can") from error


def _run_piece(graph: ModelProto, given: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
    model = _convert(graph)
    # The piece declares its inputs as tensors without a rank, and the processor's plugin asks for their rank.
    model.reshape({name: list(value.shape) for name, value in given.items()})
    found = compile_ir(model, Path("layer"), 1)(given)
    return [found[name] for name in outputs]
