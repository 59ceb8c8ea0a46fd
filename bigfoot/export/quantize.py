"""Quantize a model folder, and measure what that costs: ``bigfoot quantize``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bigfoot.compress.quantize import TARGETS, apply
from bigfoot.compress.settings import Quantize, percentile_problem
from bigfoot.config import Problem
from bigfoot.data.batches import LoadedUtterance
from bigfoot.errors import ConfigError
from bigfoot.export.audio import join_pieces, padded_audio, read_option
from bigfoot.export.outputs import decode_greedily, outputs_of_model
from bigfoot.formats.folder import EARLIER_MODELS, LoadedModel, load_model, resolve_model, save_model
from bigfoot.measure.error_rate import PairedDifference, compare_paired
from bigfoot.measure.size import measure_size_bytes
from bigfoot.progress import show_work, track
from bigfoot.storage.lock import locked
from bigfoot.storage.ownership import OWN_ONLY, MayReplace, check_folder


@dataclass(frozen=True)
class QuantizeRequest:
    """What to quantize, and how.

    Args:
        model: see ``resolve_model``.
        destination: folder to write.
        precision: of ``TARGETS``.
        calibrate: real audio for static ranges.
        check: audio on which texts are compared; that of ``calibrate`` where None.
        percentile: see ``bigfoot.compress.quantize.calibrate``.
        keep_fp32: see ``Quantize``.
        may: what may be replaced, besides what bigfoot wrote.
    """

    model: str
    destination: Path
    precision: str
    calibrate: Path | None = None
    check: Path | None = None
    percentile: float = 100.0
    keep_fp32: Sequence[str] = ()
    may: MayReplace = OWN_ONLY

    def find_problems(self) -> Iterator[Problem]:
        """Find all problems of the request.

        Examples:
            >>> print(*QuantizeRequest("tiny_teacher", Path("out"), "int8", calibrate=Path("a.wav")).find_problems())
            --calibrate: only int8_static has ranges to measure; for comparing texts there is --check
        """
        static = self.precision == "int8_static"
        if self.precision not in TARGETS:
            yield Problem("--precision", "unknown_word", f"{self.precision!r} is none of {', '.join(TARGETS)}")
        elif static and self.calibrate is None:
            message = "int8_static needs a minute or so of real audio to measure ranges on"
            yield Problem("--calibrate", "missing", message)
        elif not static and self.calibrate is not None:
            message = "only int8_static has ranges to measure; for comparing texts there is --check"
            yield Problem("--calibrate", "not_read", message)
        if problem := percentile_problem(self.percentile):
            yield replace(problem, key="--percentile")
        elif not static and self.percentile != 100.0:
            message = "only int8_static has ranges that could be cut; leave it out"
            yield Problem("--percentile", "not_read", message)


@dataclass(frozen=True)
class Quantized:
    """Result of quantization.

    Args:
        bytes_before: of the weight files.
        bytes_after: the same.
        change: what was kept and dropped, a sentence.
        texts_changed: utterances whose text changes; None where no audio was given.
        num_utterances: compared.
        wer: the small model's word error rate less the other's; None without audio and head.
    """

    bytes_before: int
    bytes_after: int
    change: str
    texts_changed: int | None = None
    num_utterances: int = 0
    wer: PairedDifference | None = None

    def describe(self) -> str:
        """Summarize the result in a line.

        Examples:
            >>> Quantized(10_000_000, 2_700_000, "", 1, 60, PairedDifference(0.001, 0, 0, 0.4, "utterance")).describe()
            '2.7 MB, 27 % of 10.0 MB; WER +0.10 points, 1 of 60 texts changed'
        """
        share = f"{self.bytes_after / 1e6:.1f} MB"
        if self.bytes_before:  # a bundle's files are not ours to find
            share += f", {self.bytes_after / self.bytes_before:.0%} of ".replace("%", " %")
            share += f"{self.bytes_before / 1e6:.1f} MB"
        if self.texts_changed is None:
            return f"{share}; no audio was given to compare texts on (--check)"
        rise = None if self.wer is None else self.wer.difference
        points = "" if rise is None else f"WER {100 * rise:+.2f} points, "
        return f"{share}; {points}{self.texts_changed} of {self.num_utterances} texts changed"


def run_quantize(request: QuantizeRequest, on_note: Callable[[str], None] = lambda _: None) -> Quantized:
    """Load, calibrate, round, save, compare.

    Args:
        request: what is to be made small.
        on_note: called with a line that a user should read.

    Returns:
        See ``Quantized``; the folder is written.

    Raises:
        ConfigError: options that do not go together.
        ModelError: weights that cannot be made small.
        OutputError: the destination is read, holds what bigfoot did not write, or another process writes it.
    """
    if problems := list(request.find_problems()):
        raise ConfigError(problems)
    model = resolve_model(request.model)
    read = [model, *filter(None, (request.calibrate, request.check))]
    request = replace(request, may=replace(request.may, inputs=read, models=[model]))
    # Before audio is read for minutes, and again when the folder is written.
    check_folder(request.destination, replace(request.may, report=lambda _: None), EARLIER_MODELS)
    with locked(request.destination):
        return _quantize(request, on_note)


def _quantize(request: QuantizeRequest, on_note: Callable[[str], None]) -> Quantized:
    loaded = load_model(request.model)
    calibration, checked = (
        [] if place is None else read_option(option, place, loaded.processor, on_note)
        for option, place in (("--calibrate", request.calibrate), ("--check", request.check))
    )
    if request.check is None:
        checked = calibration
    config = Quantize(request.precision, list(request.keep_fp32), request.percentile)
    model, change = apply(loaded.model, config, padded_audio(calibration, loaded.processor))
    entry = {"step": "quantize", "precision": request.precision, "changes": [change.describe()]}
    with show_work("writing"):
        save_model(model, loaded.processor, request.destination, [*loaded.history, entry], may=request.may)
    before, after = (
        0 if folder is None else measure_size_bytes(folder) for folder in (loaded.folder, request.destination)
    )
    if not checked or model.head is None:
        return Quantized(before, after, change.describe())
    texts, found = (_transcribe(each, checked) for each in (loaded, LoadedModel(model, loaded.processor)))
    references = join_pieces(checked, [item.text for item in checked])
    speakers = {item.id: item.speaker for item in checked}
    wer = compare_paired(references if any(references) else texts, texts, found, list(speakers.values()))
    changed = sum(ours != theirs for ours, theirs in zip(texts, found, strict=True))
    return Quantized(before, after, change.describe(), changed, len(texts), wer)


def _transcribe(loaded: LoadedModel, utterances: Sequence[LoadedUtterance]) -> list[str]:
    shown = track(utterances, "comparing texts", unit="utterances")
    texts = [decode_greedily(outputs_of_model(loaded, item), loaded.processor.tokenizer) for item in shown]
    return join_pieces(utterances, texts)
