"""What a step needs on its device: masks, counts and batches, copied without waiting for the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor

from bigfoot.data.batches import Batch
from bigfoot.data.settings import SpecAugmentConfig
from bigfoot.training.masking import draw_masks
from bigfoot.training.protocol import TrainingObjective


class Transfer:
    """Brings batches to the device of a training.

    Args:
        objective: whose frames and units are counted.
        accelerator: of the training.
        spec_augment: masks on the student's input.
        seed: of the run.
    """

    def __init__(
        self, objective: TrainingObjective, accelerator: Accelerator, spec_augment: SpecAugmentConfig, seed: int
    ) -> None:
        self._objective, self._accelerator = objective, accelerator
        self._spec_augment, self._seed = spec_augment, seed

    def move(self, tensor: Tensor) -> Tensor:
        """Copy a tensor; from pinned memory, so that a GPU is not waited for."""
        device = self._accelerator.device
        if device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(device, non_blocking=True)

    def draw_masks(self, batch: Batch) -> dict[str, Tensor]:
        """Move SpecAugment's masks of a batch, drawn now where they did not come with it."""
        masks = batch.masks
        if masks is None:
            masks = draw_masks(self._objective.student, batch, self._spec_augment, self._seed)
        # Single numbers are read where they are.
        return {name: self.move(mask) if mask.ndim else mask for name, mask in masks.items()}

    def count_units(self, window: Sequence[Batch]) -> dict[str, Tensor]:
        """Count what the mean of each term is over, in all processes together; at least 1."""
        counts: dict[str, int] = {}
        for batch in window:
            for name, units in self._objective.count_units(batch).items():
                counts[name] = counts.get(name, 0) + units
        moved = self.move(torch.tensor([float(units) for units in counts.values()]))
        return {name: self._accelerator.reduce(units).clamp(min=1) for name, units in zip(counts, moved, strict=True)}

    def add_up(self, shares: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Add up the terms of a window over its batches and all processes, so that all of them decide alike.

        Args:
            shares: of each batch, its terms as shares of the window's mean.

        Returns:
            (terms,), in the order of the objective's weights.
        """
        zero = torch.zeros((), device=self._accelerator.device)
        totals = [sum((part.get(name, zero) for part in shares), zero) for name in self._objective.weights]
        reduced: Tensor = self._accelerator.reduce(torch.stack(totals))
        return reduced
