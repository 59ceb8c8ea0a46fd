"""Facts of a finished step, written beside its model."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bigfoot.storage.digests import describe_damage, digest_folder
from bigfoot.storage.replace import recover_folder
from bigfoot.storage.state import read_state, write_state

log = logging.getLogger("bigfoot")

FACTS_FILE = "facts.json"
SKIPPED = "nothing has changed, skipped"


def log_skipped(label: str, folder: Path) -> None:
    """Log that a step, the data, the labels or the report were found as they would be made again.

    Args:
        label: of what is skipped.
        folder: where it lies.
    """
    log.info("%s: %s (%s)", label, SKIPPED, folder)


@dataclass
class StepResult:
    """Result of a step.

    Args:
        row: name of the row in the report.
        folder: model folder that it wrote.
        fingerprint: of its settings and of all steps before it.
        inputs: digests that the fingerprint is made of, by name.
        seconds: duration.
        changes: what was kept and dropped, one sentence each.
        records: lines of losses and dev scores.
        best_step: optimizer step of the selected checkpoint; 0 without training.
        notes: problems and their remedies, one sentence each.
    """

    row: str
    folder: Path
    fingerprint: str
    inputs: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    changes: list[str] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    best_step: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass
class _Facts:
    """Content of ``facts.json``.

    Args:
        row: as in ``StepResult``.
        model: name of the model folder, beside it.
        fingerprint: as in ``StepResult``, like the fields below.
        seconds: of the step.
        changes: sentences.
        records: of the training.
        best_step: of the training.
        notes: sentences.
        digests: of the model's files.
    """

    row: str
    model: str
    fingerprint: str
    inputs: dict[str, str]
    seconds: float
    changes: list[str]
    records: list[dict[str, Any]]
    best_step: int
    notes: list[str]
    digests: dict[str, str]


def read_facts(folder: Path, expected: dict[str, str] | None = None) -> StepResult | None:
    """Read the result of a step.

    Args:
        folder: of the step.
        expected: digests of its inputs, by name; None accepts any.

    Returns:
        None if it is unfinished, its facts or its model are damaged, or settings or inputs have changed.
    """
    facts, reason = read_state(folder / FACTS_FILE, _Facts)
    if facts is None:
        if reason:
            log.warning("%s: %s; the step is done again", folder.name, reason)
        return None
    if expected is not None and facts.inputs != expected:
        changed = [name for name, digest in expected.items() if facts.inputs.get(name) != digest]
        log.info("%s: %s changed", folder.name, ", ".join(changed) or "what it depends on")
        return None
    model = folder / Path(facts.model).name
    recover_folder(model)
    if damage := describe_damage(model, facts.digests):
        log.warning("%s: %s in %s; the step is done again", folder.name, damage, model)
        return None
    return StepResult(
        facts.row, model, facts.fingerprint, facts.inputs, facts.seconds, facts.changes, facts.records, facts.best_step,
        facts.notes,
    )  # fmt: skip


def write_facts(folder: Path, result: StepResult) -> None:
    """Write a step's facts into its folder, after its model.

    Args:
        folder: of the step.
        result: of the step; its model is in the folder.
    """
    facts = _Facts(
        result.row, result.folder.name, result.fingerprint, result.inputs, result.seconds, result.changes,
        result.records, result.best_step, result.notes, digest_folder(result.folder),
    )  # fmt: skip
    write_state(folder / FACTS_FILE, facts)
