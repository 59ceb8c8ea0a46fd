"""An exponential average of the weights, which is judged and saved in place of the last ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from bigfoot.models.ctc import BigfootForCTC
from bigfoot.training.hooks import TrainingHook


class WeightAverage(TrainingHook):
    """Exponential moving average of the student's weights (Polyak & Juditsky, 1992).

    After step t it takes ``1 - min(decay, (1 + t) / (10 + t))`` of the new weights, so that the first ones, far from
    where training leads, are soon forgotten. It is in the checkpoint.

    Args:
        decay: share of the average that stays at each step, in (0, 1).

    Examples:
        >>> WeightAverage(0.999).decay_at(1), WeightAverage(0.5).decay_at(1000)
        (0.18181818181818182, 0.5)
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._average: dict[str, Tensor] = {}

    def decay_at(self, step: int) -> float:
        """Return the share of the average that stays at a step.

        Args:
            step: 1-based.
        """
        return min(self.decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def after_step_(self, student: BigfootForCTC, step: int) -> None:
        """See ``TrainingHook``."""
        weights = {name: parameter.detach() for name, parameter in student.named_parameters()}
        if not self._average:
            self._average = {name: tensor.clone() for name, tensor in weights.items()}
            return
        averages = [self._average[name].to(tensor.device) for name, tensor in weights.items()]
        torch._foreach_lerp_(averages, list(weights.values()), 1.0 - self.decay_at(step))
        self._average = dict(zip(weights, averages, strict=True))

    @contextmanager
    def as_saved(self, student: BigfootForCTC) -> Iterator[None]:
        """See ``TrainingHook``."""
        own = {name: parameter.data for name, parameter in student.named_parameters()}
        for name, parameter in student.named_parameters():
            if name in self._average:
                parameter.data = self._average[name].to(parameter.device)
        try:
            yield
        finally:
            for name, parameter in student.named_parameters():
                parameter.data = own[name]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the average, by names of weights; empty before the first step."""
        return self._average

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up an average.

        Args:
            state: of ``state_dict``.
        """
        self._average = dict(state)
