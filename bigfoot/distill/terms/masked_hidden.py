"""The teacher's hidden states, masked and unmasked frames apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bigfoot.config.problems import Problem
from bigfoot.config.rules import not_negative
from bigfoot.distill.loss import MASKED, LossInputs, Targets
from bigfoot.distill.terms.hidden import HiddenLoss

if TYPE_CHECKING:
    from torch import nn

    from bigfoot.distill.losses import LossSum
    from bigfoot.models.configuration import BigfootConfig


@dataclass
class MaskedHiddenLoss(HiddenLoss):
    """Hidden states with masked and unmasked frames apart (Jang et al., 2023), by ``distill.spec_augment``'s masks.

    Masked frames learn from the teacher of the whole input, unmasked ones from the teacher of the masked input. As in
    the paper's repository, both sums are over the number of all real frames.
    """

    masked_weight: float = not_negative(1.0)
    """Share of the frames that are masked for the student."""
    unmasked_weight: float = not_negative(1.0)
    """Share of the frames that are not; 0 spares the teacher's second pass."""

    needs_masks: ClassVar[bool] = True

    def check(self, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[Problem]:
        """See ``Loss``."""
        yield from super().check(student, teacher)
        if not self.masked_weight and not self.unmasked_weight:
            message = "masked_weight and unmasked_weight are both 0, there is nothing to compare"
            yield Problem("", "nothing_to_compare", message)

    def find_targets(self, student: BigfootConfig, teacher: BigfootConfig) -> Targets:
        """See ``Loss``."""
        states = super().find_targets(student, teacher)["hidden_states"]
        weights = {"hidden_states": self.masked_weight, MASKED: self.unmasked_weight}
        return {field: states for field, weight in weights.items() if weight}

    def compute(self, inputs: LossInputs, modules: nn.ModuleList) -> LossSum:
        """See ``Loss``."""
        import torch

        from bigfoot.distill.losses import LossSum

        (_, whole), real = inputs.both("hidden_states"), inputs.frame_mask
        masked = torch.zeros_like(real) if inputs.masked_frames is None else inputs.masked_frames
        projected, total = self.project(inputs, modules), real.new_zeros((), dtype=torch.float32)
        if self.masked_weight:
            total = total + self.masked_weight * self.compare(projected, whole, inputs, real & masked).total
        if self.unmasked_weight:
            assert inputs.masked_teacher is not None and inputs.masked_teacher.hidden_states is not None
            states = inputs.masked_teacher.hidden_states
            total = total + self.unmasked_weight * self.compare(projected, states, inputs, real & ~masked).total
        return LossSum(total, real.sum())
