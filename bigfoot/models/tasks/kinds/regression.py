"""Numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from bigfoot.models.tasks.kinds.base import LossOptions, TaskKind
from bigfoot.models.tasks.shape import TaskShape


class Regression(TaskKind):
    """Numbers in units of their spread in training, trained by the squared error."""

    def __init__(self, shape: TaskShape) -> None:
        super().__init__(shape)
        self._center = torch.tensor(shape.center or [0.0] * shape.num_labels)
        self._scale = torch.tensor(shape.scale or [1.0] * shape.num_labels)

    @property
    def target_width(self) -> int:
        """See ``TaskKind``."""
        return self.shape.num_labels

    def losses(self, logits: Tensor, targets: Tensor, options: LossOptions) -> Tensor:
        """See ``TaskKind``."""
        fits = ~targets.isnan()
        wanted = (targets - self._center.to(targets)) / self._scale.to(targets)
        squares = (logits.float() - wanted.where(fits, 0.0)) ** 2
        return squares.where(fits, 0.0).sum(-1) / fits.sum(-1).clamp(min=1)

    def divergences(self, logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """See ``TaskKind``; the squared difference, since there is no distribution."""
        return ((logits.float() - teacher.float()) ** 2).mean(-1)
