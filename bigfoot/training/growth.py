"""Grow convolution groups during distillation: weights that grouped convolutions cannot express fade step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bigfoot.compress import conv_groups
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.training.hooks import TrainingHook


@dataclass(frozen=True)
class GroupGrowth(TrainingHook):
    """Linear fade of the weights outside the blocks of the future groups.

    The fade is applied to the kernels themselves, so a checkpoint needs no extra state.

    Args:
        groups: of each convolution, at the end.
        begin: last step of dense kernels.
        end: first step of grouped ones; weights outside the blocks are zero from here on.
    """

    groups: Sequence[int]
    begin: int
    end: int

    def share(self, step: int) -> float:
        """Return the remaining scale of these weights after a step, 1 to 0.

        Examples:
            >>> [GroupGrowth([1, 2], 10, 20).share(step) for step in (5, 10, 15, 20, 99)]
            [1.0, 1.0, 0.5, 0.0, 0.0]
        """
        return min(1.0, max(0.0, (self.end - step) / (self.end - self.begin)))

    def may_be_best(self, step: int, max_steps: int) -> bool:
        """Return True once the kernels are those of grouped convolutions."""
        return step >= self.end

    def after_step_(self, student: BigfootForCTC, step: int) -> None:
        """Fade the kernels from the previous step to this one.

        Args:
            student: changed in place.
            step: just completed, 1-based.
        """
        before, now = self.share(step - 1), self.share(step)
        if now < 1.0:
            conv_groups.fade_outside_blocks_(student, self.groups, now / before if before else 0.0)

    def finish(self, model: BigfootForCTC) -> tuple[BigfootForCTC, list[str]]:
        """Cut the kernels to their blocks: all weights outside are 0 by now, so nothing is lost."""
        grouped, change = conv_groups.apply(model, conv_groups.ConvGroups(self.groups))
        return grouped, [change.describe()]
