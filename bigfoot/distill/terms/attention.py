"""The teacher's attention maps, averaged over heads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bigfoot.config.problems import Problem
from bigfoot.config.rules import one_of
from bigfoot.distill.loss import Loss, LossInputs, Targets
from bigfoot.distill.terms.layers import match_layers, match_problems

if TYPE_CHECKING:
    from torch import nn

    from bigfoot.distill.losses import LossSum
    from bigfoot.models.configuration import BigfootConfig


@dataclass
class AttentionLoss(Loss):
    """Divergence of the student's attention maps, mean over heads, from the teacher's, mean over real frames.

    Where its weight is 0, the slower attention that gives maps is off too.
    """

    distance: str = one_of("kl", "mse")
    """``kl`` (of the teacher's row of weights from the student's) or ``mse``."""
    matches: Any = "proportional"
    """``proportional``, or a list of [student, teacher] layers, 0-based."""

    outputs: ClassVar[tuple[str, ...]] = ("output_attentions",)

    def check(self, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[Problem]:
        """See ``Loss``; maps of fewer frames than the teacher's, or none, cannot be compared with its own."""
        yield from match_problems(self.matches, student, teacher)
        if student.time_reduction > 1:
            message = f"the student's maps have one frame for {student.time_reduction} of the teacher's"
            yield Problem("", "other_frames", f"{message} (time_reduction); set its weight to 0")
        if missing := [layer for layer, heads in enumerate(student.heads_of_layers) if not heads]:
            message = f"layers {missing} of the student have no attention; set its weight to 0"
            yield Problem("", "no_attention", message)

    def find_targets(self, student: BigfootConfig, teacher: BigfootConfig) -> Targets:
        """See ``Loss``."""
        return {"attentions": {match.teacher for match in match_layers(self.matches, student, teacher)}}

    def compute(self, inputs: LossInputs, modules: nn.ModuleList) -> LossSum:
        """See ``Loss``."""
        from bigfoot.distill.losses import attention_distance
        from bigfoot.distill.projections import add_up

        here, there = inputs.both("attentions")
        return add_up([
            attention_distance(here[match.student], there[match.teacher], inputs.frame_mask, self.distance)
            for match in match_layers(self.matches, *inputs.shapes.both)
        ])  # fmt: skip
