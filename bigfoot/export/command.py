"""What ``bigfoot export`` does, from words to a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bigfoot.compress.quantize import Int8Plan, calibrate, dynamic_plan
from bigfoot.data.batches import LoadedUtterance
from bigfoot.errors import ConfigError
from bigfoot.export.audio import padded_audio, read_speech
from bigfoot.export.facts import check_exportable
from bigfoot.export.onnx import build_onnx, require_onnx
from bigfoot.export.openvino import build_openvino
from bigfoot.export.parity import Build, Parity, ParityLimits, export_checked
from bigfoot.export.torch_export import build_torch_export
from bigfoot.models.folder import LoadedModel, load_model
from bigfoot.runtime.openvino_engine import require_openvino

PRECISIONS = ("static", "dynamic")


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
        require: says in words which extra is missing.
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
    """What is to be written.

    Args:
        model: see ``resolve_model``.
        destination: file to write.
        to: one of ``TARGETS``.
        int8: one of ``PRECISIONS``; None for fp32.
        calibrate: real audio for static ranges.
        check: audio to compare on; that of ``calibrate`` where None, and noise where that is None too.
        percentile: see ``bigfoot.compress.quantize.calibrate``.
        max_wer_rise: as a fraction.
        fallback: see ``export_checked``.
        normalize: inside the file.
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

    def problems(self) -> list[str]:
        """What cannot be done, all at once."""
        target = TARGETS.get(self.to)
        problems = [] if target else [f"--to: {self.to!r} is none of {', '.join(TARGETS)}"]
        if target and target.suffix not in (None, self.destination.suffix):
            problems.append(f"OUT: {self.destination} should end in {target.suffix} for --to {self.to}")
        if target and self.int8 is not None and not target.has_int8:
            problems.append(f"--int8: {self.to} files are in fp32 alone; --to onnx has int8")
        if self.int8 not in (None, *PRECISIONS):
            problems.append(f"--int8: {self.int8!r} is none of {', '.join(PRECISIONS)}")
        if self.int8 == "static" and self.calibrate is None:
            problems.append("--calibrate: --int8 static needs a minute or so of real audio to measure ranges on")
        if self.int8 == "dynamic" and self.calibrate is None and self.check is None:
            problems.append("--check: --int8 dynamic needs real audio on which the file is compared with the model")
        if not 50.0 < self.percentile <= 100.0:
            problems.append(f"--percentile: {self.percentile:g} should be above 50 and at most 100")
        return problems


def run_export(request: ExportRequest, on_note: Callable[[str], None] = lambda _: None) -> Parity:
    """Load, plan, build, compare, write.

    Args:
        request: what is to be written.
        on_note: told what a user should know.

    Returns:
        How the file compares.

    Raises:
        ConfigError: options that do not go together.
        ExportError: the file answers otherwise than the model; nothing is written.
    """
    if problems := request.problems():
        raise ConfigError(problems)
    target = TARGETS[request.to]
    target.require()
    loaded = load_model(request.model)
    check_exportable(loaded)
    heard = None if request.calibrate is None else read_speech(request.calibrate, loaded.processor)
    plan = _plan(request, loaded, heard)
    judged = heard if request.check is None and heard else read_speech(request.check, loaded.processor)
    limits = ParityLimits(wer=request.max_wer_rise)
    exported, parity = export_checked(
        loaded, plan, judged, build=target.build, normalize=request.normalize, limits=limits,
        fallback=request.fallback, on_note=on_note,
    )  # fmt: skip
    exported.save(request.destination)
    return parity


def _plan(request: ExportRequest, loaded: LoadedModel, heard: Sequence[LoadedUtterance] | None) -> Int8Plan | None:
    if request.int8 == "dynamic":
        return dynamic_plan(loaded.model)
    if request.int8 == "static" and heard:
        return calibrate(loaded.model, padded_audio(heard, loaded.processor), request.percentile)
    return None
