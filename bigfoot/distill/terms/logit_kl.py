"""The teacher's frame posteriors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bigfoot.config.rules import above_zero, not_negative
from bigfoot.distill.loss import LossInputs
from bigfoot.distill.terms.logits import LogitLoss

if TYPE_CHECKING:
    from torch import nn

    from bigfoot.distill.losses import LossSum


@dataclass
class LogitKLLoss(LogitLoss):
    """Kullback-Leibler divergence from the teacher's frame posteriors, times T squared (Hinton et al., 2015)."""

    weight: float = not_negative(1.0)
    """Its share of the loss; 0 switches it off."""
    temperature: float = above_zero(1.0)
    """Softens both distributions, above 0."""

    def compute(self, inputs: LossInputs, modules: nn.ModuleList) -> LossSum:
        """See ``Loss``."""
        from bigfoot.distill.losses import logit_kl

        return logit_kl(*inputs.both("logits"), inputs.frame_mask, self.temperature)
