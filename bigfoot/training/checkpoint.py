"""Checkpoints from which a killed run resumes to the same bits."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from bigfoot.data.batches import Position
from bigfoot.errors import TrainingError
from bigfoot.muting import muted
from bigfoot.storage.digests import find_damage
from bigfoot.storage.ownership import OWN_OR_EDITED, Earlier, check_folder
from bigfoot.storage.replace import recover_folder, replace_folder
from bigfoot.storage.state import parse_as
from bigfoot.training.processes import is_lost, lost_process

log = logging.getLogger("bigfoot")

EARLIER_CHECKPOINTS = Earlier(
    ("progress.json",),
    (
        "progress.json", "model*.safetensors", "model.safetensors.index.json", "optimizer*.bin", "scheduler*.bin",
        "sampler*.bin", "scaler.pt", "random_states_*.pkl", "custom_checkpoint_*.pkl", "pytorch_model*.bin",
        "pytorch_model_fsdp_*/*", "optimizer_*/*",
    ),
)  # fmt: skip
"""Checkpoints of versions that wrote no marker."""


@dataclass
class Progress:
    """Progress of a run.

    Args:
        fingerprint: of all settings and inputs; a checkpoint with another fingerprint is not resumed.
        step: optimizer steps done.
        position: in the data, after the last batch consumed.
        best_wer: lowest dev WER so far; None before the first evaluation.
        best_step: when it was reached.
        records: lines of losses and dev scores, for curves.
        seconds: training time, over all resumes.
        notes: the newest warning of each kind, for the report.
        recent_losses: of the last steps, to detect an exploding one.
        left_out: steps, 1-based, before which a window was skipped; one entry per window.
        exploded: steps, 1-based, whose loss exploded.
        batches_per_step: of all processes together; 0 in checkpoints of versions that did not note it.
    """

    fingerprint: str
    step: int = 0
    position: Position = field(default_factory=Position)
    best_wer: float | None = None
    best_step: int = 0
    records: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    notes: dict[str, str] = field(default_factory=dict)
    recent_losses: list[float] = field(default_factory=list)
    left_out: list[int] = field(default_factory=list)
    exploded: list[int] = field(default_factory=list)
    batches_per_step: int = 0


def save_checkpoint(
    accelerator: Accelerator, progress: Progress, folder: Path, save: Callable[[Path], None] | None = None
) -> None:
    """Write weights, optimizer, schedule, random states and progress beside the last checkpoint, then rename.

    Args:
        accelerator: whose prepared parts are saved.
        progress: saved with them.
        folder: of the checkpoint.
        save: writes everything but the progress; ``Accelerator.save_state`` by default.

    Raises:
        TrainingError: it could not be written (disk full, a size limit, no folder); the last one is still there.
    """
    announced = False

    def write(beside: Path) -> None:
        # Every process adds its random state to the folder that the main process created.
        nonlocal announced
        announced = True
        beside = _share(beside)
        # It warns of every shared kernel that it stores once, which is intended and tested.
        with muted("accelerate.utils.other"):
            accelerator.save_state(str(beside)) if save is None else save(beside)
        if accelerator.is_main_process:
            (beside / "progress.json").write_text(json.dumps(asdict(progress)), encoding="utf-8")
        accelerator.wait_for_everyone()

    try:
        if accelerator.is_main_process:
            replace_folder(folder, write, may=OWN_OR_EDITED, earlier=EARLIER_CHECKPOINTS)
        else:
            write(folder)
    # safetensors and torch wrap the system's error in errors of their own.
    except Exception as error:
        if is_lost(error):
            raise lost_process(error) from error
        if accelerator.is_main_process and not announced:
            broadcast_object_list([None])
        raise not_written("the checkpoint", progress.step, folder, folder, error) from error
    accelerator.wait_for_everyone()


def _share(beside: Path | None) -> Path:
    """Return the folder that the main process created; its name is different every time.

    Args:
        beside: of the main process, None if creating it failed; ignored in the other processes.
    """
    shared: list[Path | None] = [beside]
    broadcast_object_list(shared)
    if shared[0] is None:
        raise OSError("the main process could not make its folder")
    return shared[0]


def not_written(what: str, step: int, folder: Path, checkpoint: Path, error: Exception) -> TrainingError:
    """Build the error for a failed write: what failed, what is intact, and what to do.

    Args:
        what: the object that could not be written.
        step: optimizer step.
        folder: destination.
        checkpoint: folder of the last checkpoint.
        error: of the system, or of the library that wraps it.

    Returns:
        To be raised.
    """
    kept = checkpoint.is_dir()
    good = f"the last good checkpoint, in {checkpoint}, is untouched" if kept else "there was no checkpoint before it"
    return TrainingError(
        f"step {step}: {what} could not be written to {folder} ({error}); {good}. Make room or choose another run_dir, "
        "then give the same command to go on"
    )


def load_checkpoint(
    accelerator: Accelerator, folder: Path, fingerprint: str, best: Path | None = None,
    load: Callable[[Path], None] | None = None,
) -> Progress | None:
    """Load a checkpoint; a damaged one is logged and ignored.

    Args:
        accelerator: its prepared parts are loaded.
        folder: of the checkpoint.
        fingerprint: of the current configuration.
        best: folder of the best model so far; a checkpoint that refers to it needs it.
        load: reads what ``save`` of ``save_checkpoint`` wrote; ``Accelerator.load_state`` by default.

    Returns:
        Its progress; None if there is no checkpoint, or it is damaged or of other settings.

    Raises:
        TrainingError: it is whole but cannot be read.
        OutputError: it is so damaged that bigfoot cannot recognize it as its own.
    """
    for each in (folder, *([] if best is None else [best])):
        recover_folder(each)
    if not folder.is_dir():
        return None
    # One process reads all files and broadcasts the result.
    found = [_read_progress(folder, fingerprint, best) if accelerator.is_main_process else (None, "")]
    broadcast_object_list(found)
    progress, damage = found[0]
    if damage:
        # Raised now, not when the first new checkpoint replaces it.
        check_folder(folder, OWN_OR_EDITED, EARLIER_CHECKPOINTS)
        log.warning("the checkpoint in %s cannot be taken up (%s); the training starts anew", folder, damage)
    if progress is None:
        return None
    try:
        accelerator.load_state(str(folder)) if load is None else load(folder)
    except Exception as error:
        raise TrainingError(f"the checkpoint in {folder} cannot be read ({error}); remove it to start over") from error
    return progress


def _read_progress(folder: Path, fingerprint: str, best: Path | None) -> tuple[Progress | None, str]:
    """Return its progress, or what is damaged; neither for a checkpoint of other settings."""
    try:
        content = json.loads((folder / "progress.json").read_bytes())
        if isinstance(content, dict):
            content.setdefault("batches_per_step", 0)
        progress: Progress = parse_as(Progress, content)
    except (OSError, ValueError, RecursionError) as error:
        return None, f"progress.json: {error}"
    if progress.fingerprint != fingerprint:
        return None, ""
    damage = find_damage(folder)
    if not damage and best is not None and progress.best_step:
        damage = find_damage(best) and f"{best.name}/{find_damage(best)}"
    return (None, damage) if damage else (progress, "")
