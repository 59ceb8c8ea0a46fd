"""The teacher of a run: as it lies, or one language of it, baked into a folder of the run's own."""

from __future__ import annotations

import logging
from pathlib import Path

from accelerate import PartialState

from bigfoot.formats.folder import LoadedModel, load_model, resolve_model, save_model
from bigfoot.formats.languages import list_other_files
from bigfoot.pipeline.facts import StepResult, log_skipped, read_facts, write_facts
from bigfoot.pipeline.fingerprints import fingerprint, fingerprint_files
from bigfoot.pipeline.settings import Config

log = logging.getLogger("bigfoot")

LABEL = "teacher"
"""Folder within the run's."""


def teacher_path(config: Config) -> str:
    """Return where the teacher of a run is read, once the run has started.

    Args:
        config: of the run.

    Examples:
        >>> teacher_path(Config())
        'tiny_teacher'
    """
    return config.teacher.path if config.teacher.language is None else str(Path(config.run_dir) / LABEL / "model")


def load_teacher(config: Config) -> LoadedModel:
    """Load the teacher of a run; where it has several languages, the one is written to the run's folder first.

    So every later step, measurement and size is of that language alone, and a resumed run reads neither the others
    nor the whole again.

    Args:
        config: of the run.

    Raises:
        ModelError: there is no such model, or no such language of it.
    """
    if config.teacher.language is not None:
        # With several processes, the first writes and the others find it done.
        with PartialState().main_process_first():
            _bake(config, config.teacher.language)
    return load_model(teacher_path(config))


def _bake(config: Config, language: str) -> None:
    source, folder = resolve_model(config.teacher.path, language), Path(config.run_dir) / LABEL
    files = fingerprint_files(source, leave_out=list_other_files(source, language))
    inputs = {"its files": files, "its language": language}
    if (done := read_facts(folder, inputs)) is not None:
        log_skipped(LABEL, done.folder)
        return
    log.info("%s: %s of %s", LABEL, language, source.name)
    loaded = load_model(source, language=language)
    history = [*loaded.history, {"step": "convert", "changes": [f"the language {language} was baked in"]}]
    save_model(loaded.model, loaded.processor, folder / "model", history)
    write_facts(folder, StepResult(LABEL, folder / "model", fingerprint(inputs), inputs))
