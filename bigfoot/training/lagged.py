"""Losses of steps that nobody has waited for yet.

To read a number from a GPU is to wait until everything before it is done, and the GPU then waits for the next step.
So a step whose loss or gradient is not finite is skipped on the device, and what happened is read when it is needed:
before a line of the log, an evaluation or a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bigfoot.data.batches import Batch
from bigfoot.training.checkpoint import Progress
from bigfoot.training.guards import find_broken
from bigfoot.training.watch import LossWatch


class UnreadStep(NamedTuple):
    """A step that was taken, or skipped, on the device.

    Args:
        window: batches of this process, on the CPU.
        shares: of each batch, their terms as shares of the window's mean.
        values: terms and at the end the gradient's norm, over all processes, (terms + 1,).
    """

    window: Sequence[Batch]
    shares: Sequence[Mapping[str, Tensor]]
    values: Tensor


class UnreadSteps:
    """Collects steps, and reads all of them at once.

    Args:
        weights: of the terms, by name.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights, self._steps = weights, list[UnreadStep]()
        self._newest: dict[str, float] = {}

    def add(self, window: Sequence[Batch], shares: Sequence[Mapping[str, Tensor]], values: Tensor) -> Tensor:
        """Note a step.

        Args:
            window: see ``UnreadStep``.
            shares: see there.
            values: see there.

        Returns:
            1 where the step is to be skipped and 0 elsewhere, on the device.
        """
        self._steps.append(UnreadStep(window, shares, values))
        return (~values.isfinite().all()).float()

    @property
    def newest(self) -> dict[str, float]:
        """Terms and ``loss`` of the last step that was read and taken."""
        return self._newest

    def settle(self, progress: Progress, watch: LossWatch) -> int:
        """Read what happened.

        Steps that were skipped do not count: ``progress.step`` goes back by as many, and more steps follow.

        Args:
            progress: of the run; changed in place.
            watch: is asked about every step, in order.

        Returns:
            Number of skipped steps.

        Raises:
            TrainingError: too many non-finite or exploding losses.
        """
        if not self._steps:
            return 0
        steps, self._steps = self._steps, []
        ahead, progress.step = progress.step, progress.step - len(steps)
        rows = torch.stack([step.values for step in steps]).tolist()
        for step, (*values, norm) in zip(steps, rows, strict=True):
            terms = dict(zip(self._weights, values, strict=True))
            broken = find_broken(terms) or (find_broken({"": norm}) and "gradient")
            if broken:
                watch.leave_out(progress, step.window, step.shares, broken)
                continue
            progress.step += 1
            loss = sum(self._weights[name] * value for name, value in terms.items())
            watch.check_loss(progress, step.window, step.shares, loss)
            self._newest = terms | {"loss": loss}
        return ahead - progress.step
