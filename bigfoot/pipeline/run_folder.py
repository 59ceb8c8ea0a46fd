"""Run folder: lock it, and never overwrite files that are not bigfoot's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from bigfoot.config import save_config
from bigfoot.pipeline.execute import list_turns
from bigfoot.pipeline.settings import Config
from bigfoot.storage.lock import locked
from bigfoot.storage.ownership import OWN_ONLY, OWN_OR_EDITED, check_file
from bigfoot.storage.places import refuse_overwriting
from bigfoot.storage.replace import replacing
from bigfoot.training.processes import join_processes, lost_processes_named

_LOG_LINE = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ ")
_MANY = 6
"""Sections of a complete configuration; one of differences lacks some of them."""


@contextmanager
def sole_run(run_dir: Path) -> Iterator[None]:
    """Lock a run folder; a run's processes share the lock of the first, and nested calls hold it already.

    Args:
        run_dir: created if missing.

    Yields:
        Nothing.

    Raises:
        OutputError: another process runs in this folder.
        TrainingError: another process of the same run ended.
    """
    # Joined here for the whole process: an Accelerator is created too late.
    state = join_processes()
    if not state.is_main_process:
        with lost_processes_named():
            yield
        return
    with locked(run_dir, inside=True), lost_processes_named():
        check_file(run_dir / "log.txt", OWN_OR_EDITED, _is_log)
        yield


def _is_log(path: Path) -> bool:
    with path.open("rb") as file:
        return _LOG_LINE.match(file.read(64)) is not None


def refuse_own_models(config: Config) -> None:
    """Reject a run that would replace the models that it reads.

    Args:
        config: of the run.

    Raises:
        OutputError: an input model is in a folder to which a step of the run writes.
    """
    read = [path for path in (config.teacher.path, config.student.path) if path is not None]
    for control in (False, True):
        for turn in list_turns(config.steps, control=control):
            refuse_overwriting(read, Path(config.run_dir) / turn.label / "model")


def save_run_config(config: object, run_dir: Path, config_path: str | None) -> None:
    """Write ``config.yaml`` with every key.

    Args:
        config: of the run.
        run_dir: of the run.
        config_path: the file that was read; if it is this file, it is only replaced if it was not edited.

    Raises:
        OutputError: there is a ``config.yaml`` that bigfoot did not write.
    """
    file = run_dir / "config.yaml"
    is_read = config_path is not None and Path(config_path).exists() and file.exists() and file.samefile(config_path)
    with replacing(file, may=OWN_ONLY if is_read else OWN_OR_EDITED, is_own=None if is_read else _is_whole) as beside:
        save_config(config, beside)


def _is_whole(path: Path) -> bool:
    """Return whether a file has every section, which hand-written files do not."""
    with path.open("rb") as file:
        found = set(re.findall(rb"^(\w+):", file.read(1 << 20), re.MULTILINE))
    return len(found & {entry.name.encode() for entry in fields(Config)}) > _MANY
