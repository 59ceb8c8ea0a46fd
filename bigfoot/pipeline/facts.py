"""The facts of a step: what it left behind, written beside its model when it has come to its end."""

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


@dataclass
class StepResult:
    """What a step left behind.

    Args:
        row: name of the row in the report.
        folder: the model folder it wrote.
        fingerprint: of its settings and of all before it.
        inputs: digests of what that is of, by name.
        seconds: that it took.
        changes: what was kept and dropped, a sentence each.
        records: lines of losses and dev scores.
        best_step: step of the training that goes on; 0 where nothing was trained.
        notes: what went wrong, and what to try, a sentence each.
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
    """``facts.json``.

    Args:
        row: as of ``StepResult``.
        model: name of the model folder, beside it.
        fingerprint: as of ``StepResult``, like what follows.
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
    """What a step left behind.

    Args:
        folder: of the step.
        expected: digests of its inputs, by name; None takes it whatever they were.

    Returns:
        None where it has not come to its end, its facts or its model are damaged, or settings or inputs were others.
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
    """Write a step's facts into its folder: at the end, when its model is there.

    Args:
        folder: of the step.
        result: what it left behind; its model lies in the folder.
    """
    facts = _Facts(
        result.row, result.folder.name, result.fingerprint, result.inputs, result.seconds, result.changes,
        result.records, result.best_step, result.notes, digest_folder(result.folder),
    )  # fmt: skip
    write_state(folder / FACTS_FILE, facts)
