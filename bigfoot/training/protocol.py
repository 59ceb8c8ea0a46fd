"""What the training loop asks of an objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bigfoot.data.batches import Batch
from bigfoot.distill.losses import LossSum


class TrainingObjective(Protocol):
    """A student with its losses; a ``torch.nn.Module`` as well, whose call computes the terms of a batch."""

    weights: dict[str, float]
    """Of the loss terms, by name."""

    @property
    def student(self) -> Any:  # noqa: ANN401 - of whatever kind the objective is for
        """What learns: ``parts()``, ``speech_encoder``, ``config`` and ``head`` are read."""

    @property
    def projections(self) -> nn.Module:
        """Modules that are trained beside the student."""

    def __call__(self, batch: Batch, masks: dict[str, Tensor]) -> Mapping[str, LossSum]:
        """Compute the sums of the terms by name."""

    def count_units(self, batch: Batch) -> dict[str, int]:
        """Count the units of each term's mean before the batch is run."""

    def deployed(self) -> Any:  # noqa: ANN401 - a model of the student's kind
        """Return the model that is saved."""

    def advance_(self) -> None:
        """Count an optimizer step."""

    def move_teacher(self, device: torch.device) -> None:
        """Move the teacher to the student's device."""
