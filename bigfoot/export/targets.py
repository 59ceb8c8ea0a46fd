"""Formats that ``bigfoot export`` writes: a file each, and a line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bigfoot.export.executorch import build_executorch, require_executorch
from bigfoot.export.facts import check_exportable
from bigfoot.export.gate import Build
from bigfoot.export.litert import build_litert, require_litert
from bigfoot.export.onnx import build_onnx, require_onnx
from bigfoot.export.onnx_asr import build_onnx_asr
from bigfoot.export.openvino import build_openvino
from bigfoot.export.runtime_folder import check_rate
from bigfoot.export.sherpa import build_sherpa, check_sherpa
from bigfoot.export.streaming import build_streaming, check_streaming
from bigfoot.export.torch_export import build_torch_export
from bigfoot.export.transformers_js import build_transformers_js
from bigfoot.export.web import build_web
from bigfoot.formats.folder import LoadedModel
from bigfoot.runtime.openvino_engine import require_openvino

INT8 = ("static", "dynamic")


def _nothing() -> None:
    """No extra is needed."""


def _require_openvino() -> None:
    require_onnx()
    require_openvino()


@dataclass(frozen=True)
class Target:
    """A format to write.

    Args:
        build: what makes it of a model.
        suffix: that its files are known by; None where any will do.
        int8: those of ``INT8`` that have a form there.
        package: that runs its files.
        halves: whether what is not int8 can compute in bfloat16.
        is_folder: whether it is a folder of several files.
        windowed: whether a pass takes audio up to a longest alone.
        require: raises an error that names a missing extra.
        check: raises an error where it cannot hold a model.
    """

    build: Build
    suffix: str | None = None
    int8: Sequence[str] = ()
    package: str = "onnxruntime"
    halves: bool = False
    is_folder: bool = False
    windowed: bool = False
    require: Callable[[], None] = _nothing
    check: Callable[[LoadedModel], None] = check_exportable


TARGETS = {
    "onnx": Target(build_onnx, int8=INT8, require=require_onnx),
    "openvino": Target(
        build_openvino, ".xml", int8=("static",), package="openvino", halves=True, require=_require_openvino
    ),
    "torch-export": Target(build_torch_export, ".pt2", package="torch"),
    "litert": Target(build_litert, ".tflite", package="ai-edge-litert", windowed=True, require=require_litert),
    "executorch": Target(build_executorch, ".pte", package="executorch", windowed=True, require=require_executorch),
    "streaming": Target(build_streaming, require=require_onnx, check=check_streaming),
    "sherpa": Target(build_sherpa, int8=INT8, is_folder=True, require=require_onnx, check=check_sherpa),
    "onnx-asr": Target(build_onnx_asr, int8=INT8, is_folder=True, require=require_onnx, check=check_rate),
    "transformers-js": Target(build_transformers_js, int8=INT8, is_folder=True, require=require_onnx, check=check_rate),
    "web": Target(build_web, int8=INT8, is_folder=True, require=require_onnx, check=check_rate),
}
FILE_SUFFIXES = (".onnx", *(target.suffix for target in TARGETS.values() if target.suffix))
"""Suffixes that name a file, and no folder."""


def writes_folder(to: str) -> bool:
    """Return whether a target is a folder; an unknown one is not.

    Args:
        to: name of a target.
    """
    return to in TARGETS and TARGETS[to].is_folder
