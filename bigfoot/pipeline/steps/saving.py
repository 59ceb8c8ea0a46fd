"""Save the model of a step."""

from __future__ import annotations

from typing import Any

from accelerate import PartialState

from bigfoot.formats.folder import LoadedModel, save_model
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.pipeline.facts import StepResult
from bigfoot.storage.ownership import OWN_OR_EDITED


def save_step(result: StepResult, model: BigfootForCTC, loaded: LoadedModel, **entry: Any) -> None:  # noqa: ANN401
    """Save a model from the first process, with a new history entry; all processes wait for it.

    Args:
        result: of the step.
        model: to save.
        loaded: its source; its processor and history are kept.
        entry: further facts of the history entry.
    """
    state = PartialState()
    if state.is_main_process:
        history = [*loaded.history, {"step": result.folder.parent.name, "changes": result.changes, **entry}]
        save_model(model, loaded.processor, result.folder, history, may=OWN_OR_EDITED)
    state.wait_for_everyone()
