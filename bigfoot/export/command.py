"""Export a model to a file: ``bigfoot export``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path

from bigfoot.audio.pauses import LONGEST_PIECE
from bigfoot.compress.quantize import Int8Plan, calibrate, dynamic_plan, folder_plan
from bigfoot.compress.settings import percentile_problem
from bigfoot.config import Problem
from bigfoot.data.batches import LoadedUtterance
from bigfoot.errors import ConfigError
from bigfoot.export.audio import JUDGED_SECONDS, padded_audio, read_judged, read_option
from bigfoot.export.candidates import list_candidates
from bigfoot.export.exported import Exported, is_exported
from bigfoot.export.gate import export_checked
from bigfoot.export.parity import Parity, ParityLimits
from bigfoot.export.targets import FILE_SUFFIXES, INT8, TARGETS, writes_folder
from bigfoot.export.tasks import TaskParity, export_task
from bigfoot.export.tune import TuningFile, export_fastest, time_candidates
from bigfoot.export.window import SHORTEST_WINDOW, WINDOW, cut_to_window
from bigfoot.formats.folder import LoadedModel, load_model, resolve_model
from bigfoot.models.small_weights import COMPUTES_INT8
from bigfoot.progress import show_work
from bigfoot.storage.lock import locked
from bigfoot.storage.ownership import OWN_ONLY, MayReplace, check_file, check_folder
from bigfoot.types import Seconds

LAYER_LIMIT = 1e-3
"""A folder's layers round as its file's do, and what is left is the order of sums."""


@dataclass(frozen=True)
class ExportRequest:
    """What to export, and how.

    Args:
        model: see ``resolve_model``.
        destination: file to write, or folder; see ``Target``.
        to: one of ``TARGETS``.
        int8: one of ``INT8``; None for fp32, or for the precision of the model's folder.
        calibrate: real audio for static ranges.
        check: audio to compare on; that of ``calibrate`` where None, and noise where that is None too.
        percentile: see ``bigfoot.compress.quantize.calibrate``.
        max_wer_rise: as a fraction.
        fallback: see ``export_checked``.
        normalize: inside the file.
        tune: choose the precision by measuring on this machine.
        window: longest audio of a pass, where the target has one; ``WINDOW`` where None.
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
    tune: bool = False
    window: Seconds | None = None
    may: MayReplace = OWN_ONLY

    def find_problems(self, precision: str = "float32") -> Iterator[Problem]:
        """Find all problems of the request.

        Args:
            precision: of the model's folder.
        """
        target = TARGETS.get(self.to)
        if target is None:
            yield Problem("--to", "unknown_word", f"{self.to!r} is none of {', '.join(TARGETS)}")
        elif target.suffix not in (None, self.destination.suffix):
            yield Problem("OUT", "other_suffix", f"{self.destination} should end in {target.suffix} for --to {self.to}")
        elif target.is_folder and self.destination.suffix in FILE_SUFFIXES:
            message = f"--to {self.to} writes a folder, and {self.destination} is named as a file; name a folder"
            yield Problem("OUT", "other_suffix", message)
        wanted = self.int8 or precision.removeprefix("int8_")
        if target and wanted in INT8 and wanted not in target.int8:
            key, whose = ("--int8", "") if self.int8 is not None else ("--to", f"{self.model} is {precision}, and ")
            has = f"or in int8 {target.int8[0]}" if target.int8 else "alone"
            yield Problem(key, "no_int8", f"{whose}{self.to} files are in fp32 {has}; --to onnx has int8 {wanted}")
        if self.int8 not in (None, *INT8):
            yield Problem("--int8", "unknown_word", f"{self.int8!r} is none of {', '.join(INT8)}")
        if not 0 < self.max_wer_rise < 1:
            message = f"must be above 0 and below 100 points, got {100 * self.max_wer_rise:g}"
            yield Problem("--max-wer-rise", "out_of_range", message)
        if problem := percentile_problem(self.percentile):
            yield replace(problem, key="--percentile")
        if self.window is not None and not SHORTEST_WINDOW <= self.window <= LONGEST_PIECE:
            message = f"must be from {SHORTEST_WINDOW:g} to {LONGEST_PIECE:g} seconds, got {self.window:g}"
            yield Problem("--window", "out_of_range", message)
        if self.tune and target:
            yield from self._tuning_problems(target.int8, precision)
        if precision in COMPUTES_INT8:
            yield from self._contradictions(precision)
            return
        if self.int8 == "static" and self.calibrate is None:
            message = "--int8 static needs a minute or so of real audio to measure ranges on"
            yield Problem("--calibrate", "missing", message)
        if self.int8 == "dynamic" and self.calibrate is None and self.check is None:
            message = "--int8 dynamic needs real audio on which the file is compared with the model"
            yield Problem("--check", "missing", message)

    def find_unused(self, precision: str = "float32", *, is_task: bool = False) -> Iterator[Problem]:
        """Find options that are not read: worth a note, no reason to stop.

        Args:
            precision: of the model's folder.
            is_task: whether it answers a task.

        Examples:
            >>> [problem.key for problem in ExportRequest("m", Path("m.onnx"), percentile=99.9).find_unused()]
            ['--percentile']
        """
        rises, is_int8 = self.max_wer_rise != 0.005, precision in COMPUTES_INT8
        if rises and is_task:
            yield Problem("--max-wer-rise", "not_read", "not read for a task: the file is judged by its answers")
        elif rises and is_int8 and self.check is None:
            message = "not read for an int8 folder without --check: the file is judged by its logits"
            yield Problem("--max-wer-rise", "not_read", message)
        if self.window is not None and not (self.to in TARGETS and TARGETS[self.to].windowed):
            yield Problem("--window", "not_read", f"not read for {self.to}, which takes audio of any length")
        if is_int8:
            return  # what else such a folder does not read contradicts it
        if self.normalize and writes_folder(self.to):
            yield Problem("--normalize", "not_read", f"not read for {self.to}, whose graph always normalizes")
        if self.percentile != 100.0 and self.int8 != "static" and not self.tune:
            yield Problem("--percentile", "not_read", "not read without --int8 static, which alone has ranges")
        if self.int8 is None and not self.tune:
            for key, given in (("--fallback", self.fallback), ("--max-wer-rise", rises and not is_task)):
                if given:
                    yield Problem(key, "not_read", "not read without --int8: an fp32 file is judged by its logits")

    def _tuning_problems(self, kinds: Sequence[str], precision: str) -> Iterator[Problem]:
        if not kinds:
            yield Problem("--tune", "no_int8", f"{self.to} files are in fp32 alone, so that there is nothing to choose")
        if precision in COMPUTES_INT8:
            yield Problem("--tune", "not_read", f"{self.model} is {precision} and keeps its layers; leave it out")
        elif self.int8 is not None:
            yield Problem("--int8", "not_read", "--tune chooses the precision; leave one of the two out")
        elif self.calibrate is None:
            message = "--tune needs a minute or so of real audio to measure ranges on"
            yield Problem("--calibrate", "missing", message)

    def find_task_problems(self) -> Iterator[Problem]:
        """Find the problems of the request for a model that answers a task."""
        if self.to != "onnx":
            yield Problem("--to", "no_task", f"{self.to} has no form for a task head; --to onnx has")
        if self.tune:
            yield Problem("--tune", "no_task", "it chooses among files that are judged by texts; leave it out")
        if self.fallback:
            yield Problem("--fallback", "no_task", "it brings layers back by texts, and a task has none; leave it out")

    def _contradictions(self, precision: str) -> Iterator[Problem]:
        """Options that contradict a folder that already sets its precision."""
        cure = "leave it out, or bring the model back first: bigfoot quantize MODEL OUT --precision float32"
        if self.int8 in INT8 and f"int8_{self.int8}" != precision:
            message = f"{self.int8} contradicts {self.model}, which is {precision}; {cure}"
            yield Problem("--int8", "other_precision", message)
        if self.calibrate is not None:
            message = f"{self.model} is {precision} and is not calibrated again; {cure}"
            yield Problem("--calibrate", "not_read", message)
        if self.percentile != 100.0:
            message = f"{self.model} is {precision} and has its ranges already; {cure}"
            yield Problem("--percentile", "not_read", message)


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
    _check_place(request, replace(may, report=lambda _: None))
    with locked(request.destination):
        return _export(replace(request, may=may), on_note)


def _check_place(request: ExportRequest, may: MayReplace) -> None:
    """Check what would be replaced, before audio is read for minutes; it is checked again when it is written."""
    if writes_folder(request.to):
        check_folder(request.destination, may)
        return
    for path in (request.destination, *([request.destination.with_suffix(".bin")] if request.to == "openvino" else [])):
        check_file(path, may, is_exported)


def _export(request: ExportRequest, on_note: Callable[[str], None]) -> Parity | TaskParity:
    loaded = load_model(request.model)
    if problems := list(request.find_problems(loaded.model.config.precision)):
        raise ConfigError(problems)
    for unused in request.find_unused(loaded.model.config.precision, is_task=loaded.model.task_head is not None):
        on_note(str(unused))
    target = TARGETS[request.to]
    target.require()
    target.check(loaded)
    if loaded.model.task_head is not None:
        return _export_task(request, loaded, on_note)
    calibration = None
    if request.calibrate is not None:
        calibration = read_option("--calibrate", request.calibrate, loaded.processor, on_note)
    own = folder_plan(loaded.model)
    plan = _plan(request, loaded, calibration) if own is None else own
    judged = _read_judged(request, calibration, loaded, plan is not None or request.tune, on_note)
    limits = ParityLimits(wer=request.max_wer_rise)
    if own is not None:
        on_note(f"int8 as {request.model} has it: {len(own.ranges)} layers")
        limits = replace(limits, layers=LAYER_LIMIT, texts=request.check is not None)
    build = target.build
    if target.windowed:
        window = WINDOW if request.window is None else request.window
        judged, build = cut_to_window(judged, window, loaded.processor.sample_rate), partial(build, window=window)
    export = partial(
        export_checked, loaded, utterances=judged, build=build, normalize=request.normalize, limits=limits,
        fallback=request.fallback, on_note=on_note,
    )  # fmt: skip
    if request.tune and calibration is not None:
        exported, parity = _export_tuned(request, loaded, calibration, export, on_note)
    else:
        exported, parity = export(plan)
    exported.save(request.destination, request.may)
    return parity


def _export_tuned(
    request: ExportRequest,
    loaded: LoadedModel,
    calibration: Sequence[LoadedUtterance],
    export: Callable[[Int8Plan], tuple[Exported, Parity]],
    on_note: Callable[[str], None],
) -> tuple[Exported, Parity]:
    """Measure the candidates, or read what was measured before, and build the fastest that passes."""
    target = TARGETS[request.to]
    static = calibrate(loaded.model, padded_audio(calibration, loaded.processor), request.percentile)
    plans = list_candidates(loaded, static, target.int8, halves=target.halves)
    runtime = f"{target.package} {metadata.version(target.package)}"
    kept = TuningFile.beside(request.destination, loaded, request.to, runtime)
    speedups = kept.read()
    if speedups is None:
        with show_work("timing the candidates"):
            speedups = time_candidates(loaded, plans, target.build)
        kept.write(speedups, request.may)
    else:
        on_note(f"speed as {kept.path} has it")
    return export_fastest(speedups, plans, export, on_note)


def _read_judged(
    request: ExportRequest,
    calibration: Sequence[LoadedUtterance] | None,
    loaded: LoadedModel,
    is_int8: bool,
    on_note: Callable[[str], None],
) -> Sequence[LoadedUtterance]:
    """Read the audio on which the file is compared: for int8, enough to judge its texts."""
    if request.check is not None or calibration is None:
        seconds = JUDGED_SECONDS if is_int8 else 0.0
        return read_option("--check", request.check, loaded.processor, on_note, seconds)
    return read_judged(request.calibrate, calibration, loaded.processor, on_note) if is_int8 else calibration


def _export_task(request: ExportRequest, loaded: LoadedModel, on_note: Callable[[str], None]) -> TaskParity:
    """Export a model that answers a task: to ONNX."""
    if problems := list(request.find_task_problems()):
        raise ConfigError(problems)
    judged = read_option("--check", request.check or request.calibrate, loaded.processor, on_note)
    plan = folder_plan(loaded.model)
    if plan is None:
        calibration = judged
        if request.check is not None and request.calibrate is not None:
            calibration = read_option("--calibrate", request.calibrate, loaded.processor, on_note)
        plan = _plan(request, loaded, calibration)
    exported, parity = export_task(loaded, judged, plan, normalize=request.normalize)
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
