"""The facts of a step: what it left behind, written beside its model when it has come to its end."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bigfoot.formats.folder import recover_folder


@dataclass
class StepResult:
    """What a step left behind.

    Args:
        row: name of the row in the report.
        folder: the model folder it wrote.
        fingerprint: of its settings and of all before it.
        seconds: that it took.
        changes: what was kept and dropped, a sentence each.
        records: lines of losses and dev scores.
        best_step: step of the training that goes on; 0 where nothing was trained.
        notes: what went wrong, and what to try, a sentence each.
    """

    row: str
    folder: Path
    fingerprint: str
    seconds: float = 0.0
    changes: list[str] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    best_step: int = 0
    notes: list[str] = field(default_factory=list)


def read_facts(folder: Path, expected: str | None = None) -> StepResult | None:
    """What a step left behind.

    Args:
        folder: of the step.
        expected: its fingerprint; None takes it whatever its settings were.

    Returns:
        None where it has not come to its end, its model is not there, or settings or inputs were others.
    """
    file = folder / "facts.json"
    if not file.exists():
        return None
    raw = json.loads(file.read_text(encoding="utf-8"))
    result = StepResult(**{**raw, "folder": Path(raw["folder"])})
    # The folder is stored as it was; a run folder that was moved is still whole.
    result.folder = folder / result.folder.name
    recover_folder(result.folder)
    same = expected is None or result.fingerprint == expected
    return result if same and (result.folder / "config.json").exists() else None


def write_facts(folder: Path, result: StepResult) -> None:
    """Write a step's facts into its folder: at the end, when its model is there."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / "facts.json.tmp"
    beside.write_text(json.dumps({**asdict(result), "folder": str(result.folder)}, indent=1), encoding="utf-8")
    beside.replace(folder / "facts.json")
