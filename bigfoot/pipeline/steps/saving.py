"""How a step saves its model."""

from __future__ import annotations

from typing import Any

from accelerate import PartialState

from bigfoot.formats.folder import LoadedModel, save_model
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.pipeline.facts import StepResult
from bigfoot.storage.ownership import OWN_OR_EDITED


def save_step(result: StepResult, model: BigfootForCTC, loaded: LoadedModel, **entry: Any) -> None:  # noqa: ANN401
    """Save a model from the first process, its history one entry longer; all go on when it is there.

    Args:
        result: of the step.
        model: that it made.
        loaded: what it was made of: its processor and history come along.
        entry: further facts of the entry.
    """
    state = PartialState()
    if state.is_main_process:
        history = [*loaded.history, {"step": result.folder.parent.name, "changes": result.changes, **entry}]
        save_model(model, loaded.processor, result.folder, history, may=OWN_OR_EDITED)
    state.wait_for_everyone()
