"""Watch the losses of a run: skip non-finite ones, report exploding ones, stop the run after too many of either."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from bigfoot.data.batches import Batch
from bigfoot.errors import TrainingError
from bigfoot.training.bad_batches import save_bad_batch
from bigfoot.training.checkpoint import Progress
from bigfoot.training.guards import RECENT_LOSSES, usual_loss
from bigfoot.training.settings import TrainConfig

log = logging.getLogger("bigfoot")

_MOST_SAVED = 20
"""Most exploding batches that are saved; further ones are only counted, to bound the disk space."""


class LossWatch:
    """Decides on a window of batches by its loss; its state is in ``Progress``, and so in the checkpoint.

    Every process comes to the same decision, because the losses are summed over all of them.

    Args:
        name: of the training, for the log.
        config: ``max_bad_steps`` and ``warmup_steps``.
        precision: ``no``, ``bf16`` or ``fp16``.
        folder: where bad batches go.
        rank: of this process.
    """

    def __init__(self, name: str, config: TrainConfig, precision: str, folder: Path, rank: int = 0) -> None:
        self.name, self.config, self.folder, self.rank = name, config, folder, rank
        self._cure = "precision=bf16 or precision=no" if precision == "fp16" else "a lower learning_rate"

    def note(self, progress: Progress, kind: str, text: str) -> None:
        """Log a warning and keep it for the report, which shows the newest of each kind.

        Args:
            progress: of the run; changed in place.
            kind: of warning, a word.
            text: what is wrong, and what to try.
        """
        if progress.notes.get(kind) != text:
            log.warning("%s: %s", self.name, text)
            progress.notes[kind] = text

    def leave_out(
        self, progress: Progress, window: Sequence[Batch], terms: Sequence[Mapping[str, Tensor]], broken: str
    ) -> None:
        """Save and count the window of a skipped step.

        Args:
            progress: of the run, at the step before; changed in place.
            window: batches of this process.
            terms: their losses; the batches where one is not finite are to blame, or all where none is.
            broken: what is not finite, such as ``loss term ctc``.

        Raises:
            TrainingError: it is one more than ``max_bad_steps``.
        """
        step = progress.step + 1
        to_blame = [i for i, values in enumerate(terms) if not all(term.isfinite() for term in values.values())]
        chosen = to_blame or list(range(len(window)))
        self._save([window[i] for i in chosen], [terms[i] for i in chosen], step)
        progress.left_out.append(step)
        steps = ", ".join(map(str, progress.left_out))
        what = f"step {step}: the {broken} is not a finite number"
        cure = f"Try {self._cure} or more warmup_steps, and inspect {self.folder}"
        if len(progress.left_out) > self.config.max_bad_steps:
            raise TrainingError(
                f"{what}; more than max_bad_steps={self.config.max_bad_steps} batches were left out for it (at step "
                f"{steps}) and saved; the last checkpoint is still good. {cure}"
            )
        self.note(progress, "left_out", f"{what}; its batch was left out and saved (so far at step {steps}). {cure}")

    def check_loss(
        self, progress: Progress, window: Sequence[Batch], terms: Sequence[Mapping[str, Tensor]], loss: float
    ) -> None:
        """Detect an exploding loss after its step, and record the loss.

        The step is taken nevertheless: its gradient was scaled down to ``max_grad_norm``, so one hard batch does little
        harm, and skipping all hard batches would train on an easier corpus than requested. Several in a row are
        instability, not hard batches.

        Args:
            progress: of the run, at the step just completed; changed in place.
            window: batches of this process.
            terms: their losses.
            loss: the weighted sum, over all processes.

        Raises:
            TrainingError: more than ``max_bad_steps`` in a row.
        """
        step, usual = progress.step, usual_loss(progress.recent_losses)
        progress.recent_losses = [*progress.recent_losses, loss][-RECENT_LOSSES:]
        if usual is None or step <= self.config.warmup_steps or loss <= usual:
            return
        if len(progress.exploded) < _MOST_SAVED:
            self._save(window, terms, step)
        progress.exploded.append(step)
        what = f"step {step}: the loss explodes ({loss:.4g}, where above {usual:.4g} is far from the last steps)"
        cure = f"Try {self._cure}, more warmup_steps or a smaller max_grad_norm, and inspect {self.folder}"
        most = self.config.max_bad_steps
        if progress.exploded[-most - 1 :] == list(range(step - most, step + 1)):
            raise TrainingError(f"{what}, and has for more than max_bad_steps={most} steps on end. {cure}")
        count = len(progress.exploded)
        self.note(progress, "exploded", f"{what}; {count} such step{'s' if count > 1 else ''} so far. {cure}")

    def _save(self, window: Sequence[Batch], terms: Sequence[Mapping[str, Tensor]], step: int) -> None:
        for batch, values in zip(window, terms, strict=True):
            plain = {name: float(value) for name, value in values.items()}
            save_bad_batch(batch, plain, step, self.folder, self.rank)
