"""Execute the steps of a plan; a step is skipped if its output exists and its inputs are unchanged."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accelerate import PartialState

from bigfoot.config import to_dict
from bigfoot.pipeline.context import Context
from bigfoot.pipeline.facts import FACTS_FILE, StepResult, log_skipped, read_facts, write_facts
from bigfoot.pipeline.fingerprints import fingerprint
from bigfoot.pipeline.registry import STEPS
from bigfoot.pipeline.steps.step import Step, get_step
from bigfoot.storage.state import forget_state

log = logging.getLogger("bigfoot")

CONTROL = "ctc_only_"
"""Prefix of the control's folders and rows."""


@dataclass(frozen=True)
class Turn:
    """One occurrence of a step in a run.

    Args:
        step: the step.
        number: occurrence of this step, 1-based; later ones have their own folders and rows.
        control: whether the teacher's losses are disabled.
    """

    step: Step
    number: int = 1
    control: bool = False

    @property
    def label(self) -> str:
        """Folder name."""
        return self._name(self.step.name)

    @property
    def row(self) -> str:
        """Row name in the report."""
        return self._name(self.step.row_name)

    def _name(self, name: str) -> str:
        return f"{CONTROL * self.control}{name}{f'_{self.number}' * (self.number > 1)}"


def list_turns(steps: Sequence[str], *, control: bool = False) -> list[Turn]:
    """List the occurrences of steps in a run.

    Args:
        steps: their names, in order.
        control: whether the teacher's losses are disabled.

    Examples:
        >>> [turn.label for turn in list_turns(["prune", "distill", "prune", "distill"])]
        ['prune', 'distill', 'prune_2', 'distill_2']
    """
    return [Turn(get_step(name), steps[: index + 1].count(name), control) for index, name in enumerate(steps)]


def find_turn(row: str) -> Turn | None:
    """Parse the name of a report's row; None for the teacher's.

    Args:
        row: name of the row.

    Examples:
        >>> found = find_turn("ctc_only_finetune_2")
        >>> found.step.name, found.number, found.control
        ('finetune', 2, True)
    """
    control, kind, number = re.fullmatch(rf"({CONTROL})?(.*?)(?:_(\d+))?", row).groups()  # type: ignore[union-attr]
    named = {get_step(name).row_name: get_step(name) for name in STEPS}
    return Turn(named[kind], int(number or 1), control is not None) if kind in named else None


def run_turn(turn: Turn, before: StepResult, context: Context) -> StepResult:
    """Run a step, or log that it is skipped.

    Args:
        turn: the occurrence.
        before: result of the previous step.
        context: of the run.

    Returns:
        Its result.
    """
    folder, step = context.run_dir / turn.label, turn.step
    section = to_dict(step.section(context.config))
    settings = [step.name, turn.control, {key: value for key, value in section.items() if key not in step.unread}]
    own = {"its settings": settings, "the model that it starts from": before.fingerprint}
    inputs = {what: fingerprint(value) for what, value in {**own, **step.depends_on(context)}.items()}
    done = read_facts(folder, inputs)
    # With several processes, all decide on the state before any of them writes.
    state = PartialState()
    state.wait_for_everyone()
    if done is not None:
        done.row = turn.row  # an earlier version may have used another name
        log_skipped(turn.label, done.folder)
        return done
    log.info("%s: started", turn.label)
    # The facts of other settings must not describe a model that is about to be replaced.
    if state.is_main_process:
        forget_state(folder / FACTS_FILE)
    began = time.monotonic()
    result = StepResult(turn.row, folder / "model", fingerprint(inputs), inputs)
    step.run(result, before, context, control=turn.control)
    result.seconds = result.seconds or time.monotonic() - began
    if state.is_main_process:
        write_facts(folder, result)
    state.wait_for_everyone()
    log.info("%s: done in %.0f s, model in %s", turn.label, result.seconds, result.folder)
    return result


def read_turn(turn: Turn, run_dir: Path) -> StepResult | None:
    """Read the result of a step, whatever its settings were; None if it is unfinished.

    Args:
        turn: the occurrence.
        run_dir: of the run.
    """
    found = read_facts(run_dir / turn.label)
    if found is not None:
        found.row = turn.row
    return found
