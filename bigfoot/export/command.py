"""Export a model to a file: ``bigfoot export``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bigfoot.compress.quantize import Int8Plan, calibrate, dynamic_plan, folder_plan, percentile_problem
from bigfoot.data.batches import LoadedUtterance
from bigfoot.errors import ConfigError
from bigfoot.export.audio import padded_audio, read_speech
from bigfoot.export.exported import is_exported
from bigfoot.export.facts import check_exportable
from bigfoot.export.gate import Build, export_checked
from bigfoot.export.onnx import build_onnx, require_onnx
from bigfoot.export.openvino import build_openvino
from bigfoot.export.parity import Parity, ParityLimits
from bigfoot.export.tasks import TaskParity, export_task
from bigfoot.export.torch_export import build_torch_export
from bigfoot.formats.folder import LoadedModel, load_model, resolve_model
from bigfoot.models.small_weights import COMPUTES_INT8
from bigfoot.runtime.openvino_engine import require_openvino
from bigfoot.storage.lock import locked
from bigfoot.storage.ownership import OWN_ONLY, MayReplace, check_file

PRECISIONS = ("static", "dynamic")
LAYER_LIMIT = 1e-3
"""A folder's layers round as its file's do, and what is left is the order of sums."""


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
        has_int8: whether int8 has a form there.
        require: raises an error that names a missing extra.
    """

    build: Build
    suffix: str | None = None
    has_int8: bool = False
    require: Callable[[], None] = _nothing


TARGETS = {
    "onnx": Target(build_onnx, has_int8=True, require=require_onnx),
    "openvino": Target(build_openvino, ".xml", require=_require_openvino),
    "torch-export": Target(build_torch_export, ".pt2"),
}


@dataclass(frozen=True)
class ExportRequest:
    """What to export, and how.

    Args:
        model: see ``resolve_model``.
        destination: file to write.
        to: one of ``TARGETS``.
        int8: one of ``PRECISIONS``; None for fp32, or for the precision of the model's folder.
        calibrate: real audio for static ranges.
        check: audio to compare on; that of ``calibrate`` where None, and noise where that is None too.
        percentile: see ``bigfoot.compress.quantize.calibrate``.
        max_wer_rise: as a fraction.
        fallback: see ``export_checked``.
        normalize: inside the file.
        may: what may be replaced, besides what bigfoot exported.
    """

    model: str
    destination: Path
    to: str = "onnx"
    int8: str | None = None
    calibrate: Path | None = None
    check: Path | None = None
    percentile: float = 100.0
    max_wer_rise: float = 0.005
    fallback: bool = False
    normalize: bool = False
    may: MayReplace = OWN_ONLY

    def problems(self, precision: str = "float32") -> list[str]:
        """Return all problems of the request at once.

        Args:
            precision: of the model's folder.
        """
        target = TARGETS.get(self.to)
        problems = [] if target else [f"--to: {self.to!r} is none of {', '.join(TARGETS)}"]
        if target and target.suffix not in (None, self.destination.suffix):
            problems.append(f"OUT: {self.destination} should end in {target.suffix} for --to {self.to}")
        if target and not target.has_int8 and (self.int8 is not None or precision in COMPUTES_INT8):
            asked = "--int8:" if self.int8 is not None else f"--to: {self.model} is {precision}, and"
            problems.append(f"{asked} {self.to} files are in fp32 alone; --to onnx has int8")
        if self.int8 not in (None, *PRECISIONS):
            problems.append(f"--int8: {self.int8!r} is none of {', '.join(PRECISIONS)}")
        if problem := percentile_problem(self.percentile):
            problems.append(f"--percentile: {problem}")
        if precision in COMPUTES_INT8:
            return problems + self._contradictions(precision)
        if self.int8 == "static" and self.calibrate is None:
            problems.append("--calibrate: --int8 static needs a minute or so of real audio to measure ranges on")
        if self.int8 == "dynamic" and self.calibrate is None and self.check is None:
            problems.append("--check: --int8 dynamic needs real audio on which the file is compared with the model")
        return problems

    def _contradictions(self, precision: str) -> list[str]:
        """Options that contradict a folder that already sets its precision."""
        cure = "leave it out, or bring the model back first: bigfoot quantize MODEL OUT --precision float32"
        found = []
        if self.int8 in PRECISIONS and f"int8_{self.int8}" != precision:
            found.append(f"--int8: {self.int8} contradicts {self.model}, which is {precision}; {cure}")
        if self.calibrate is not None:
            found.append(f"--calibrate: {self.model} is {precision} and is not calibrated again; {cure}")
        if self.percentile != 100.0:
            found.append(f"--percentile: {self.model} is {precision} and has its ranges already; {cure}")
        return found


def run_export(request: ExportRequest, on_note: Callable[[str], None] = lambda _: None) -> Parity | TaskParity:
    """Load, plan, build, compare, write.

    Args:
        request: what is to be written.
        on_note: called with a line that a user should read.

    Returns:
        How the file compares.

    Raises:
        ConfigError: options that do not go together.
        ExportError: the file's outputs differ from the model's; nothing is written.
        OutputError: the file is read, is not bigfoot's, or another process writes it.
    """
    model = resolve_model(request.model)
    read = [model, *filter(None, (request.calibrate, request.check))]
    may = replace(request.may, inputs=read, models=[model])
    # Before audio is read for minutes, and again when the file is written.
    for path in (request.destination, *([request.destination.with_suffix(".bin")] if request.to == "openvino" else [])):
        check_file(path, replace(may, report=lambda _: None), is_exported)
    with locked(request.destination):
        return _export(replace(request, may=may), on_note)


def _export(request: ExportRequest, on_note: Callable[[str], None]) -> Parity | TaskParity:
    loaded = load_model(request.model)
    if problems := request.problems(loaded.model.config.precision):
        raise ConfigError(problems)
    target = TARGETS[request.to]
    target.require()
    check_exportable(loaded)
    if loaded.model.task_head is not None:
        return _export_task(request, loaded)
    calibration = None if request.calibrate is None else read_speech(request.calibrate, loaded.processor)
    own = folder_plan(loaded.model)
    plan = _plan(request, loaded, calibration) if own is None else own
    judged = calibration if request.check is None and calibration else read_speech(request.check, loaded.processor)
    limits = ParityLimits(wer=request.max_wer_rise)
    if own is not None:
        on_note(f"int8 as {request.model} has it: {len(own.ranges)} layers")
        limits = replace(limits, layers=LAYER_LIMIT, texts=request.check is not None)
    exported, parity = export_checked(
        loaded, plan, judged, build=target.build, normalize=request.normalize, limits=limits,
        fallback=request.fallback, on_note=on_note,
    )  # fmt: skip
    exported.save(request.destination, request.may)
    return parity


def _export_task(request: ExportRequest, loaded: LoadedModel) -> TaskParity:
    """Export a model that answers a task: to ONNX, in fp32."""
    problems = [] if request.to == "onnx" else [f"--to: {request.to} has no form for a task head; --to onnx has"]
    if request.int8 is not None or folder_plan(loaded.model) is not None:
        problems.append(f"--int8: {request.model} answers a task, and such files are in fp32 alone")
    if problems:
        raise ConfigError(problems)
    judged = read_speech(request.check or request.calibrate, loaded.processor)
    exported, parity = export_task(loaded, judged, normalize=request.normalize)
    exported.save(request.destination, request.may)
    return parity


def _plan(
    request: ExportRequest, loaded: LoadedModel, calibration: Sequence[LoadedUtterance] | None
) -> Int8Plan | None:
    if request.int8 == "dynamic":
        return dynamic_plan(loaded.model)
    if request.int8 == "static" and calibration:
        return calibrate(loaded.model, padded_audio(calibration, loaded.processor), request.percentile)
    return None
