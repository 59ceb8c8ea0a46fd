"""One run: data, teacher, the configured steps, the control, and the report."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import PartialState
from rich.logging import RichHandler

from bigfoot.config import Problem, to_dict
from bigfoot.config.plugins import digest_plugins
from bigfoot.data.corpora import describe_transcripts
from bigfoot.data.manifests import describe_trimmed
from bigfoot.decoding.choose import unused_options
from bigfoot.decoding.hot_words import describe_hot_words
from bigfoot.errors import ConfigError
from bigfoot.formats.extractor import describe_assumed
from bigfoot.formats.folder import LoadedModel, load_model
from bigfoot.measure.size import measure_size
from bigfoot.models.frames.registry import gives_states
from bigfoot.models.notices import is_printed
from bigfoot.pipeline.checks import find_problems
from bigfoot.pipeline.context import Context
from bigfoot.pipeline.execute import list_turns, run_turn
from bigfoot.pipeline.facts import StepResult, log_skipped
from bigfoot.pipeline.fingerprints import digest_files, fingerprint, fingerprint_files
from bigfoot.pipeline.hypotheses import add_hypotheses
from bigfoot.pipeline.inputs import (
    digest_noise,
    digest_training_data,
    find_characters,
    prepare_inputs,
    refuse_misplaced,
    splits_until,
    warn_without_transcripts,
)
from bigfoot.pipeline.labels import choose_labels
from bigfoot.pipeline.plan import Models, Plan, resolve_plan
from bigfoot.pipeline.rows import build_rows, describe_machine
from bigfoot.pipeline.run_folder import refuse_own_models, save_run_config, sole_run
from bigfoot.pipeline.scale import apply_scale
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.teacher import load_teacher
from bigfoot.pipeline.vouching import read_report, write_report
from bigfoot.report.rows import Report
from bigfoot.storage.state import forget_state
from bigfoot.text.normalizers import NORMALIZERS

log = logging.getLogger("bigfoot")


_KEPT = "only_kept"
"""Attribute of records that go to the run's file alone."""


def start_logging(run_dir: Path) -> None:
    """Log to one file per run; print rich lines on a terminal, plain ones elsewhere."""
    log.propagate = False
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    if not PartialState().is_main_process:
        # With several processes, only one logs.
        log.setLevel(logging.ERROR)
        return
    log.setLevel(logging.INFO)
    shown: logging.Handler = logging.StreamHandler(sys.stdout)
    if sys.stdout.isatty():
        shown = RichHandler(show_path=False, show_level=False, omit_repeated_times=False)
    kept = logging.FileHandler(run_dir / "log.txt", encoding="utf-8")
    kept.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    shown.addFilter(lambda record: not getattr(record, _KEPT, False))
    log.addHandler(shown)
    log.addHandler(kept)


def run_pipeline(
    config: Config, *, problems: Sequence[Problem] = (), until: str = "report", config_path: str | None = None
) -> Report | None:
    """Run the configured steps, skipping finished ones.

    Args:
        config: of the run.
        problems: already found in it, reported together with those found here.
        until: stop after this stage of ``list_stages``.
        config_path: recorded in the report.

    Returns:
        The report; None if the run stopped before it, and in all processes but the first.

    Raises:
        ConfigError: with all problems, before anything is done.
        OutputError: another process runs in the same folder, or something there is not bigfoot's.
        BigfootError: a later error, with its remedy.
    """
    plan = resolve_plan(apply_scale(config))
    config = plan.config
    if found := find_problems(plan, problems):
        raise ConfigError(found)
    refuse_own_models(config)
    with sole_run(Path(config.run_dir)):
        return _run(plan, until, config_path)


def _has_decoder(plan: Plan) -> bool:
    """Return whether a row of the report will be an autoregressive decoder's."""
    gains = "finetune" in plan.config.steps and plan.config.finetune.objective != "ctc"
    models = (plan.teacher, plan.models and plan.models.source)
    return gains or any(model.config.decoder is not None for model in models if model)


def _run(plan: Plan, until: str, config_path: str | None) -> Report | None:
    config, run_dir = plan.config, Path(plan.config.run_dir)
    refuse_misplaced(run_dir, [turn.label for turn in list_turns(config.steps)])
    start_logging(run_dir)
    for unused in unused_options(config.evaluate, has_decoder=_has_decoder(plan)):
        log.warning("%s", unused.under("evaluate"))
    if PartialState().is_main_process:
        save_run_config(config, run_dir, config_path)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    assert plan.models is not None  # a problem otherwise
    teacher = load_teacher(config)
    for note in describe_hot_words(config.evaluate, teacher.processor.tokenizer):
        log.info("%s", note)
    # The first process prepares the data, the others reuse it.
    with PartialState().main_process_first():
        characters = find_characters(config, plan.models.writes)
        data = prepare_inputs(config, run_dir, characters, splits_until(until, config))
        written = plan.models.writes.tokenizer
        labels = choose_labels(config, data, digest_training_data(data), teacher, written)
        labels = add_hypotheses(config, data, labels, teacher, written)
    if until == "data":
        return None
    warn_without_transcripts(config, data)
    results = [_take_teacher(teacher, plan)]
    if until == "teacher":
        return None
    context = Context(plan, run_dir, data, teacher, labels, digest_noise(config, data))
    results = _run_steps(results[0], context, until)
    if until != "report" or not PartialState().is_main_process:
        return None
    return _report(results, context, config_path)


def _take_teacher(teacher: LoadedModel, plan: Plan) -> StepResult:
    """Return the teacher as input of the first step; its fingerprint, which all later ones include, covers plugins."""
    assert teacher.folder is not None and plan.models is not None
    shape, plugins = teacher.model.config, plan.config.plugins
    for note in _describe_assumed(plan.models):
        # It came before the run had a log of its own; a user need read it only once.
        log.warning("%s", note, extra={_KEPT: is_printed(note)})
    described = f"{shape.num_hidden_layers} layers, {shape.hidden_size} wide"
    if not gives_states(shape.frame_encoder):
        described = "whose posteriors teach" if shape.ctc_head else "whose texts teach"
    log.info("teacher: %s, %s", teacher.folder.name, described)
    found = fingerprint_files(teacher.folder)
    return StepResult("teacher", teacher.folder, fingerprint(found, digest_plugins(plugins)) if plugins else found)


def _find_source(teacher: StepResult, plan: Plan) -> StepResult:
    """Return the model that the student is initialized from: the teacher, unless another one is named."""
    if plan.config.student.path is None:
        return teacher
    assert plan.models is not None
    folder = plan.models.source.path
    log.info("student: cut out of %s", folder.name)
    return StepResult("source", folder, fingerprint(teacher.fingerprint, fingerprint_files(folder)))


def _run_steps(teacher: StepResult, context: Context, until: str) -> list[StepResult]:
    """Run the configured steps in order, then the control from the same student."""
    results, before = [teacher], _find_source(teacher, context.plan)
    steps = context.config.steps
    for turn in list_turns(steps):
        after = run_turn(turn, before, context)
        results.append(after)
        if turn.step.reshapes:
            _print_change(turn.label, before, after)
        before = after
        if turn.step.name == until and turn.number == steps.count(until):
            return results
    if context.config.control == "ctc_only":
        first = steps.index("distill")
        before = results[first]
        for turn in list_turns(steps, control=True)[first:]:
            before = run_turn(turn, before, context)
            results.append(before)
    return results


def _print_change(step: str, before: StepResult, after: StepResult) -> None:
    """Log what was kept and dropped, and the change in MACs by part."""
    for sentence in after.changes:
        log.info("%s: %s", step, sentence)
    old, new = (measure_size(load_model(result.folder).model) for result in (before, after))
    log.info("%s: parameters %s -> %s", step, f"{old.num_unique_params:,}", f"{new.num_unique_params:,}")
    for part, macs in old.macs_by_part.items():
        left = new.macs_by_part[part]
        log.info("%s: M MACs per second of audio, %s: %.1f -> %.1f", step, part, macs / 1e6, left / 1e6)


def _report(results: list[StepResult], context: Context, config_path: str | None) -> Report:
    """Measure everything and write the report, or read the existing one."""
    config, folder = context.config, context.run_dir / "report"
    judged = [context.data.contents[split] for split in config.evaluate.splits]
    lists = digest_files(config.evaluate.lm_path, config.evaluate.lexicon, config.evaluate.hot_words_file)
    settings = [to_dict(config.evaluate), config.measure.speed, *lists]
    expected = fingerprint(settings, [r.fingerprint for r in results], context.labels.fingerprint, judged)
    if (found := read_report(folder, expected)) is not None:
        log_skipped("report", folder)
        return found
    forget_state(folder / "fingerprint")
    findings = build_rows(
        results, context.data.manifests, config, config_path, context.models.writes.tokenizer
    )
    transcripts = describe_transcripts(config.data, find_characters(config, context.models.writes))
    if then := NORMALIZERS[config.evaluate.normalizer]:
        transcripts += f", {then}"
    for row in findings.rows:
        row.transcripts = transcripts
    report = Report(
        title=f"bigfoot: {Path(config.run_dir).name}",
        rows=findings.rows,
        seconds_per_step={result.row: round(result.seconds, 1) for result in results},
        skipped=[asdict(item) for item in context.data.skipped],
        changes=[sentence for result in results for sentence in result.changes],
        notes=[*_notes(context, results), *findings.notes],
        losses={result.row: result.records for result in results if result.records},
        config=to_dict(config),
        machine=describe_machine(),
        worst=findings.worst,
        tasks=findings.tasks,
    )
    write_report(report, folder, expected)
    log.info("report: %s", folder / "report.md")
    return report


def _notes(context: Context, results: list[StepResult]) -> list[str]:
    trusted = ["data: audio files were assumed unchanged since they were read (data.trust_files)"]
    trimmed = [
        describe_trimmed(split, manifest)
        for split, manifest in context.data.manifests.items()
        if context.config.data.trim_silence_db is not None
    ]
    of_steps = [f"{result.row}: {note}" for result in results for note in result.notes]
    notes = [*_describe_assumed(context.models), *context.labels.notes]
    return [*notes, *trusted * context.config.data.trust_files, *trimmed, *of_steps]


def _describe_assumed(models: Models) -> list[str]:
    """Describe what is assumed of the models that a run starts from, where a file is missing."""
    given = {item.path: item for item in (models.teacher, models.source)}.values()
    return [note for item in given if (note := describe_assumed(item.path, item.config)) is not None]
