"""The direction of the teacher's logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bigfoot.distill.loss import LossInputs
from bigfoot.distill.terms.logits import LogitLoss

if TYPE_CHECKING:
    from torch import nn

    from bigfoot.distill.losses import LossSum


@dataclass
class LogitCosineLoss(LogitLoss):
    """1 - cosine similarity of the logits, frame by frame, as the Knowledge-Distillation-Toolkit has it."""

    needs_all_tokens: ClassVar[bool] = True

    def compute(self, inputs: LossInputs, modules: nn.ModuleList) -> LossSum:
        """See ``Loss``."""
        from bigfoot.distill.losses import logit_cosine

        return logit_cosine(*inputs.both("logits"), inputs.frame_mask)
