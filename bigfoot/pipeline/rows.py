"""Measure the models of a run and build the rows of its report."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from bigfoot.audio.embedded import encode_audio
from bigfoot.data.batches import CutSource
from bigfoot.data.cuts import read_cuts
from bigfoot.decoding.choose import describe_decoder
from bigfoot.decoding.greedy import Transcripts
from bigfoot.decoding.spoken import name_decoding
from bigfoot.evaluation.decoder_pass import count_decoder_macs
from bigfoot.evaluation.evaluate import (
    Accuracy,
    evaluate_accuracy,
    measure_batch_invariance,
    measure_decoder_invariance,
    missing_wer_reason,
)
from bigfoot.formats.folder import LoadedModel
from bigfoot.measure.error_rate import ErrorRate, PairedDifference, compare_paired, count_errors
from bigfoot.measure.size import ModelSize
from bigfoot.measure.speed import count_all_threads, name_processor
from bigfoot.pipeline.execute import CONTROL, find_turn
from bigfoot.pipeline.facts import StepResult
from bigfoot.pipeline.measured import Measured, Speeds, measure_model, measure_speeds
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.task_rows import JudgedTask, add_floors, judge_task, note_tasks
from bigfoot.report.rows import Row
from bigfoot.text.tokenizer import Tokenizer
from bigfoot.types import SAMPLE_RATE
from bigfoot.version import __version__

log = logging.getLogger("bigfoot")

NUM_WORST = 10
"""Number of utterances per split that a report shows."""
_PACKAGES = ("torch", "transformers", "lhotse", "accelerate", "numpy", "soundfile", "jiwer")


@dataclass
class Findings:
    """Measurements of a run's models.

    Args:
        rows: for each split of ``evaluate.splits``, one row per model.
        worst: see ``find_worst``, of all splits.
        notes: remarks on the measurement that have no field in a row.
        tasks: see ``Report.tasks``.
    """

    rows: list[Row] = field(default_factory=list)
    worst: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tasks: list[dict[str, Any]] = field(default_factory=list)


def collect_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that affect the results."""
    found = {"python": platform.python_version(), "bigfoot": __version__}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def describe_machine() -> dict[str, str]:
    """Describe the machine on which speed was measured."""
    device = str(PartialState().device)
    threads = str(count_all_threads())
    return {"processor": name_processor(), "threads": threads, "system": platform.system(), "device": device}


def build_rows(
    results: Sequence[StepResult], manifests: dict[str, Path], config: Config, config_path: str | None,
    writes: Tokenizer | None = None,
) -> Findings:  # fmt: skip
    """Measure every model and build its rows, the teacher's first.

    Args:
        results: teacher, then the steps, in order.
        manifests: by split.
        config: of the run.
        config_path: recorded in the rows.
        writes: of the student; the teacher's texts are judged in its characters. None where they have the same.

    Returns:
        The rows, and the utterances with the most errors of the student.
    """
    judged = [manifests[split] for split in config.evaluate.splits]
    measured = [measure_model(result, judged, config) for result in results]
    measured[0].judged_as = None if writes == measured[0].loaded.processor.tokenizer else writes
    speeds = measure_speeds(measured, config) if config.measure.speed else Speeds()
    findings = Findings(notes=speeds.notes)
    for split in config.evaluate.splits:
        accuracies: dict[str, Accuracy] = {}
        judged_tasks: list[JudgedTask] = []
        for item in measured:
            row = _start_row(item, measured[0].size, speeds, config, config_path)
            row.split = split
            if item.loaded.model.task_head is not None or config.trains_task:
                judged_tasks += judge_task(row, item.loaded, manifests, config)
                findings.rows.append(row)
                continue
            found = [row] if item.loaded.model.decoder is None else [row, _decoder_row(row, item, speeds)]
            for each in found:
                _judge(each, item, manifests[split], config, accuracies, by_decoder=each is not row)
            findings.rows += found
        add_floors(judged_tasks, split, manifests, config)
        findings.tasks += [each.entry for each in judged_tasks]
        worst = find_worst(split, {name: accuracy.transcripts for name, accuracy in accuracies.items()})
        findings.worst += embed_audio(worst, manifests[split])
    findings.notes += note_tasks(findings.tasks, manifests)
    return findings


def find_worst(split: str, by_model: Mapping[str, Transcripts], limit: int = NUM_WORST) -> list[dict[str, Any]]:
    """Find the utterances in which the last student has the most errors.

    Args:
        split: name of the split.
        by_model: transcripts by model, the teacher first; a control (``ctc_only_...``) is no student.
        limit: maximal number.

    Returns:
        The worst first, each with ``split``, ``model`` (the student), ``id``, ``speaker``, ``reference``,
        ``hypotheses`` by model and ``errors`` (words, of the student); utterances without errors are excluded. Empty
        without a student.

    Examples:
        >>> student = Transcripts(["a", "b"], ["ann", "bob"], ["one", "two"], ["one", "too"])
        >>> [item["id"] for item in find_worst("test", {"distill": student})]
        ['b']
    """
    students = [name for name in by_model if name != "teacher" and not name.startswith(CONTROL)]
    if not students:
        return []
    judged = by_model[students[-1]]
    counts = count_errors(judged.references, judged.hypotheses)
    # Ties: the shorter one, which has the higher error rate, then by id, so that the order is reproducible.
    order = sorted(
        (index for index, count in enumerate(counts) if count.errors),
        key=lambda index: (-counts[index].errors, counts[index].reference_length, judged.ids[index]),
    )
    return [
        {
            "split": split,
            "model": students[-1],
            "id": judged.ids[index],
            "speaker": judged.speakers[index],
            "reference": judged.references[index],
            "hypotheses": {name: transcripts.hypotheses[index] for name, transcripts in by_model.items()},
            "errors": counts[index].errors,
        }
        for index in order[:limit]
    ]


def embed_audio(worst: Sequence[dict[str, Any]], manifest: Path) -> list[dict[str, Any]]:
    """Add the ``audio`` of utterances, for the report's players.

    Args:
        worst: of ``find_worst``.
        manifest: of their split.

    Returns:
        The same with an address that holds the audio.
    """
    ids = {item["id"] for item in worst}
    sources = [CutSource.of(cut) for cut in read_cuts(manifest) if cut.id in ids] if ids else []
    audio = {source.id: encode_audio(source.load(SAMPLE_RATE).samples) for source in sources}
    return [{**item, "audio": audio[item["id"]]} for item in worst]


def _start_row(
    item: Measured, teacher: ModelSize, speeds: Speeds, config: Config, config_path: str | None
) -> Row:  # fmt: skip
    name, size = item.result.row, item.size
    row = Row(
        name=name, step=name, split="", protocol=_protocol(item, config), num_params=size.num_params,
        num_unique_params=size.num_unique_params, size_bytes=size.size_bytes,
        # None were counted of what is not PyTorch's.
        macs_per_second=size.macs_per_second or None, macs_by_part=size.macs_by_part if size.macs_per_second else {},
        peak_memory_bytes=item.peak_memory,
        compression_ratio=teacher.num_unique_params / size.num_unique_params,
        bytes_ratio=teacher.size_bytes / size.size_bytes if teacher.size_bytes and size.size_bytes else None,
        seconds=item.result.seconds, config_path=config_path, seed=config.seed, versions=collect_versions(),
    )  # fmt: skip
    return speeds.fill_(row)


def _decoder_row(row: Row, item: Measured, speeds: Speeds) -> Row:
    """Copy a row for the hypotheses of the model's decoder, with its own speed and MACs; memory is not measured."""
    protocol = re.sub("CTC, (no|with a) language model", "by its decoder", row.protocol)
    macs = {} if item.decoder is None else row.macs_by_part | {"decoder": count_decoder_macs(item.decoder)}
    return speeds.fill_(replace(
        row, name=item.decoder_row, protocol=protocol, macs_by_part=macs, macs_per_second=sum(macs.values()) or None,
        peak_memory_bytes=None,
    ))  # fmt: skip


_CONTROL = "control: CTC in place of the teacher's losses"


def _protocol(item: Measured, config: Config) -> str:
    turn, decoder = find_turn(item.result.row), "no language model"
    if config.evaluate.decoder == "lm":
        decoder = "with a language model"
    labels = {"none": ", trained without transcripts", "teacher": ", trained on the teacher's transcripts"}
    if turn is None:
        words, trained = "as given, CTC" if item.result.row == "teacher" else "CTC", False
    else:
        words = turn.step.describe(config, item.size.precision)
        if turn.control:
            words = ", ".join(filter(None, (_CONTROL, turn.step.describe_after_control(item.size.precision))))
        trained = turn.control or not turn.step.untrained
    return f"{words}, {decoder}" + (labels.get(config.data.transcripts, "") if trained else "")


@torch.no_grad()
def _judge(
    row: Row, item: Measured, manifest: Path, config: Config, accuracies: dict[str, Accuracy], *, by_decoder: bool
) -> None:
    row.wer_missing_reason = missing_wer_reason(item.loaded)
    if row.wer_missing_reason:
        return
    log.info("evaluating %s on %s", row.name, row.split)
    home = item.loaded.model.device
    item.loaded.model.to(PartialState().device)
    how = config.evaluate
    accuracy = accuracies[row.name] = evaluate_accuracy(
        item.loaded, manifest, how, config.seed, by_decoder=by_decoder, judged_as=item.judged_as
    )
    if by_decoder:
        invariance = measure_decoder_invariance(item.loaded, manifest, how.autoregressive)
    else:
        invariance = measure_batch_invariance(item.loaded, manifest)
    item.loaded.model.to(home)
    row.batch_invariant, row.batch_invariance_max_difference = invariance.invariant, invariance.max_difference
    if accuracy.error_rate.wer is None:
        row.wer_missing_reason = "no transcripts"
        return
    row.decoder, row.unit = describe_decoder(how), _unit(item.loaded)
    if by_decoder:
        row.decoder = name_decoding(item.loaded.model, how.autoregressive)
        if cut := accuracy.transcripts.num_cut:
            row.protocol += f", {cut} of its texts cut at a repetition loop"
    _fill_rates(row, accuracy.error_rate)
    _fill_differences(row, accuracies, config, by_decoder=by_decoder)


def _fill_rates(row: Row, rate: ErrorRate) -> None:
    row.wer, row.wer_low, row.wer_high, row.cer = rate.wer, rate.wer_low, rate.wer_high, rate.cer
    row.hits, row.substitutions = rate.words.hits, rate.words.substitutions
    row.deletions, row.insertions = rate.words.deletions, rate.words.insertions
    row.num_utterances, row.num_words, row.bootstrap_unit = rate.num_utterances, rate.num_words, rate.bootstrap_unit


def _fill_differences(row: Row, accuracies: Mapping[str, Accuracy], config: Config, *, by_decoder: bool) -> None:
    """Fill in the paired differences to greedy decoding and to the teacher."""
    ours = accuracies[row.name].transcripts
    if config.evaluate.decoder != "greedy" and not by_decoder:
        gain = _compare(ours, ours.greedy, config)
        row.greedy_difference = gain.difference
        row.greedy_difference_low, row.greedy_difference_high = gain.low, gain.high
    # Phoneme errors and word errors are not comparable.
    theirs = accuracies["teacher"].transcripts if "teacher" in accuracies else None
    if theirs is not None and row.name != "teacher" and ours.references == theirs.references:
        paired = _compare(ours, theirs.hypotheses, config)
        row.wer_difference = paired.difference
        row.wer_difference_low, row.wer_difference_high = paired.low, paired.high


def _unit(loaded: LoadedModel) -> str:
    tokenizer = loaded.processor.tokenizer
    return "word" if tokenizer is None else tokenizer.unit


def _compare(ours: Transcripts, others: Sequence[str], config: Config) -> PairedDifference:
    """Compute the paired difference in WER to other hypotheses on the same utterances."""
    return compare_paired(
        ours.references, others, ours.hypotheses, ours.speakers,
        samples=config.evaluate.bootstrap_samples, seed=config.seed,
    )  # fmt: skip
