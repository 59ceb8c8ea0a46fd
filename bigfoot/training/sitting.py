"""Training in several sittings: a limit of time at which it stops with a checkpoint."""

from __future__ import annotations

import time

import torch
from accelerate import Accelerator

from bigfoot.errors import TrainingPaused


class Sitting:
    """The time that one command may train.

    Args:
        minutes: from now on; None for no limit.
        accelerator: whose processes stop together.
    """

    def __init__(self, minutes: float | None, accelerator: Accelerator) -> None:
        self._until = None if minutes is None else time.monotonic() + 60 * minutes
        self._accelerator = accelerator

    def is_over(self) -> bool:
        """Return whether the time is over for one of the processes."""
        if self._until is None:
            return False
        here = time.monotonic() >= self._until
        if self._accelerator.num_processes == 1:
            return here
        over = torch.tensor(float(here), device=self._accelerator.device)
        return float(self._accelerator.reduce(over)) > 0


def pause(name: str, step: int, steps: int) -> TrainingPaused:
    """Build what ends a sitting.

    Args:
        name: of the training.
        step: steps done.
        steps: of the training.
    """
    return TrainingPaused(
        f"{name}: paused at step {step} of {steps}, since max_minutes is over; the same command goes on from there"
    )
