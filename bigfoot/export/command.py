"""What ``bigfoot export`` does, from words to a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bigfoot.compress.quantize import Int8Plan, calibrate, dynamic_plan, folder_plan, percentile_problem
from bigfoot.data.batches import LoadedUtterance
from bigfoot.errors import ConfigError
from bigfoot.export.audio import padded_audio, read_speech
from bigfoot.export.onnx import check_exportable, require_onnx, save_onnx
from bigfoot.export.parity import Parity, ParityLimits, export_checked
from bigfoot.models.folder import LoadedModel, load_model

TARGETS, PRECISIONS = ("onnx",), ("static", "dynamic")
LAYER_LIMIT = 1e-3
"""A folder's layers round as its file's do, and what is left is the order of sums."""


@dataclass(frozen=True)
class ExportRequest:
    """What is to be written.

    Args:
        model: see ``resolve_model``.
        destination: file to write.
        to: one of ``TARGETS``.
        int8: one of ``PRECISIONS``; None for fp32, or for what the model's folder says itself.
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

    def problems(self, precision: str = "float32") -> list[str]:
        """What cannot be done, all at once.

        Args:
            precision: of the model's folder.
        """
        problems = [] if self.to in TARGETS else [f"--to: {self.to!r} is none of {', '.join(TARGETS)}"]
        if self.int8 not in (None, *PRECISIONS):
            problems.append(f"--int8: {self.int8!r} is none of {', '.join(PRECISIONS)}")
        if problem := percentile_problem(self.percentile):
            problems.append(f"--percentile: {problem}")
        if precision in ("int8_static", "int8_dynamic"):
            return problems + self._contradictions(precision)
        if self.int8 == "static" and self.calibrate is None:
            problems.append("--calibrate: --int8 static needs a minute or so of real audio to measure ranges on")
        if self.int8 == "dynamic" and self.calibrate is None and self.check is None:
            problems.append("--check: --int8 dynamic needs real audio on which the file is compared with the model")
        return problems

    def _contradictions(self, precision: str) -> list[str]:
        """What contradicts a folder that says itself how it computes."""
        cure = "leave it out, or bring the model back first: bigfoot quantize MODEL OUT --precision float32"
        found = []
        if self.int8 in PRECISIONS and f"int8_{self.int8}" != precision:
            found.append(f"--int8: {self.int8} contradicts {self.model}, which is {precision}; {cure}")
        if self.calibrate is not None:
            found.append(f"--calibrate: {self.model} is {precision} and is not calibrated again; {cure}")
        if self.percentile != 100.0:
            found.append(f"--percentile: {self.model} is {precision} and has its ranges already; {cure}")
        return found


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
    loaded = load_model(request.model)
    if problems := request.problems(loaded.model.config.precision):
        raise ConfigError(problems)
    require_onnx()
    check_exportable(loaded)
    heard = None if request.calibrate is None else read_speech(request.calibrate, loaded.processor)
    own = folder_plan(loaded.model)
    plan = _plan(request, loaded, heard) if own is None else own
    judged = heard if request.check is None and heard else read_speech(request.check, loaded.processor)
    limits = ParityLimits(wer=request.max_wer_rise)
    if own is not None:
        on_note(f"int8 as {request.model} says itself: {len(own.ranges)} layers")
        limits = replace(limits, layers=LAYER_LIMIT, texts=request.check is not None)
    exported, parity = export_checked(
        loaded, plan, judged, normalize=request.normalize, limits=limits, fallback=request.fallback, on_note=on_note
    )
    save_onnx(exported.graph, request.destination)
    return parity


def _plan(request: ExportRequest, loaded: LoadedModel, heard: Sequence[LoadedUtterance] | None) -> Int8Plan | None:
    if request.int8 == "dynamic":
        return dynamic_plan(loaded.model)
    if request.int8 == "static" and heard:
        return calibrate(loaded.model, padded_audio(heard, loaded.processor), request.percentile)
    return None
