"""One run of a speech LLM: models, stages, compression, report."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import PartialState

from bigfoot.config import Problem, read_settings, to_dict
from bigfoot.config.files import find_config
from bigfoot.config.reading import read_yaml
from bigfoot.errors import ConfigError
from bigfoot.pipeline.fingerprints import fingerprint
from bigfoot.pipeline.inputs import refuse_misplaced
from bigfoot.pipeline.rows import describe_machine
from bigfoot.pipeline.run import start_logging
from bigfoot.pipeline.run_folder import save_run_config, sole_run
from bigfoot.pipeline.speech_llm.rows import measure_models
from bigfoot.pipeline.speech_llm.steps import START, SpeechLLMRun, read_splits, run_start, run_step
from bigfoot.pipeline.vouching import read_report, write_report
from bigfoot.report.rows import Report
from bigfoot.storage.places import is_remote
from bigfoot.storage.remote import mirrored
from bigfoot.storage.state import forget_state
from bigfoot.tasks.speech_llm.settings import KIND, STAGES, SpeechLLMConfig

log = logging.getLogger("bigfoot")


def is_speech_llm(path: str) -> bool:
    """Return whether a file configures a speech LLM: its key ``kind`` says so.

    Args:
        path: YAML file, or a name of ``bigfoot configs``.
    """
    return bool(read_yaml(find_config(path)).get("kind") == KIND)


def run_speech_llm(
    path: str, overrides: Sequence[str] = (), until: str = "report"
) -> tuple[Report | None, SpeechLLMConfig]:
    """Run a configuration, skipping finished steps.

    Args:
        path: YAML file, or a name of ``bigfoot configs``.
        overrides: ``key=value`` each.
        until: a step to stop after, or ``report``.

    Returns:
        The report, None of a run that stopped before it, and the configuration.

    Raises:
        ConfigError: with all problems.
        OutputError: another process runs in the same folder, or something there is not bigfoot's.
    """
    config, problems = read_settings(SpeechLLMConfig, path, overrides)
    stages = [START, *config.steps, "report"]
    if until not in stages:
        problems.append(Problem("--until", "unknown_stage", f"{until!r} is none of {', '.join(stages)}"))
    if problems:
        raise ConfigError(problems)
    with mirrored(config.run_dir) as folder:
        if is_remote(config.run_dir):
            config.run_dir = str(folder)
        with sole_run(folder):
            return _run(config, until, path), config


def _run(config: SpeechLLMConfig, until: str, path: str) -> Report | None:
    folder = Path(config.run_dir)
    refuse_misplaced(folder, [START, *config.steps])
    start_logging(folder)
    if PartialState().is_main_process:
        save_run_config(config, folder, path)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    trains = bool(set(config.steps) & set(STAGES))
    splits = ("train", "dev", "test") if trains else tuple(s for s in ("train", "test") if getattr(config.data, s))
    with PartialState().main_process_first():
        examples, digest = read_splits(config, splits)
    run = SpeechLLMRun(config, folder, examples, digest)
    for split, found in examples.items():
        log.info("data: %s, %d prompts of %d turns", split, len(found), len({e.turn.id for e in found}))
    run.results.append(run_start(run))
    for name in [START, *config.steps]:
        if name != START:
            run.results.append(run_step(run, name))
        if name == until:
            return None
    return _report(run, path) if PartialState().is_main_process else None


def _report(run: SpeechLLMRun, path: str) -> Report:
    """Measure everything and write the report, or read the existing one."""
    config, folder = run.config, run.folder / "report"
    settings = [to_dict(config.evaluate), config.seed, [to_dict(config.section(task)) for task in config.tasks]]
    expected = fingerprint(settings, run.fingerprint, [result.fingerprint for result in run.results])
    if (found := read_report(folder, expected)) is not None:
        log.info("report: nothing has changed, skipped (%s)", folder)
        return found
    forget_state(folder / "fingerprint")
    findings = measure_models(run, folder, path)
    report = Report(
        title=f"bigfoot: {run.folder.name}",
        rows=findings.rows,
        seconds_per_step={result.row: round(result.seconds, 1) for result in run.results},
        changes=[sentence for result in run.results for sentence in result.changes],
        notes=[*(f"{r.row}: {note}" for r in run.results for note in r.notes), *findings.notes],
        losses={result.row: result.records for result in run.results if result.records},
        config=to_dict(config),
        machine=describe_machine(),
        tasks=findings.tasks,
        examples=findings.examples,
    )
    write_report(report, folder, expected)
    log.info("report: %s", folder / "report.md")
    return report
