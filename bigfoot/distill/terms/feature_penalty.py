"""Small convolutional features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bigfoot.distill.loss import Loss, LossInputs

if TYPE_CHECKING:
    from torch import nn

    from bigfoot.distill.losses import LossSum


@dataclass
class FeaturePenalty(Loss):
    """Mean square of the student's convolutional features (Baevski et al., 2020), needs no teacher."""

    needs_teacher: ClassVar[bool] = False

    def compute(self, inputs: LossInputs, modules: nn.ModuleList) -> LossSum:
        """See ``Loss``."""
        from bigfoot.distill.losses import feature_penalty

        assert inputs.student.conv_features is not None
        return feature_penalty(inputs.student.conv_features, inputs.frame_mask)
