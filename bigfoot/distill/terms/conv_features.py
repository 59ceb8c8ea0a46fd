"""The teacher's convolutional features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bigfoot.config.rules import one_of
from bigfoot.distill.loss import DISTANCES, Loss, LossInputs, Shapes, Targets

if TYPE_CHECKING:
    from torch import nn

    from bigfoot.distill.losses import LossSum
    from bigfoot.models.configuration import BigfootConfig


@dataclass
class ConvFeaturesLoss(Loss):
    """Distance between the convolutional features of student and teacher, mean over real frames and channels.

    Where widths differ, a linear map brings the student's to the teacher's.
    """

    distance: str = one_of(*DISTANCES)
    """``mse``, ``l1``, ``cosine`` (1 - cosine similarity) or ``l1_cosine``, the sum of those two (DPHuBERT)."""

    def find_targets(self, student: BigfootConfig, teacher: BigfootConfig) -> Targets:
        """See ``Loss``."""
        return {"conv_features": {0}}

    def build_modules(self, shapes: Shapes) -> nn.ModuleList:
        """See ``Loss``."""
        from bigfoot.distill.projections import build_projections

        student, teacher = shapes.both
        return build_projections(1, student.feature_size, teacher.feature_size)

    def compute(self, inputs: LossInputs, modules: nn.ModuleList) -> LossSum:
        """See ``Loss``."""
        from bigfoot.distill.losses import frame_distance

        here, there = inputs.both("conv_features")
        return frame_distance(modules[0](here), there, inputs.frame_mask, self.distance)
