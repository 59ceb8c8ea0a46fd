"""Groups that grow while a student is distilled: what grouped convolutions cannot express fades away step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bigfoot.compress import conv_groups
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.training.hooks import TrainingHook


@dataclass(frozen=True)
class GroupGrowth(TrainingHook):
    """A linear fade of all that is outside the blocks of the groups to come.

    The kernels themselves carry the fade, so that a checkpoint needs to know nothing of it.

    Args:
        groups: of each convolution, at the end.
        begin: last step of dense kernels.
        end: first step of grouped ones; what is outside the blocks is zero from here on.
    """

    groups: Sequence[int]
    begin: int
    end: int

    def share(self, step: int) -> float:
        """What is left of it after a step, 1 to 0.

        Examples:
            >>> [GroupGrowth([1, 2], 10, 20).share(step) for step in (5, 10, 15, 20, 99)]
            [1.0, 1.0, 0.5, 0.0, 0.0]
        """
        return min(1.0, max(0.0, (self.end - step) / (self.end - self.begin)))

    def may_be_best(self, step: int, max_steps: int) -> bool:
        """Only once the kernels are those of grouped convolutions."""
        return step >= self.end

    def after_step_(self, student: BigfootForCTC, step: int) -> None:
        """Fade the kernels on from the step before to this one.

        Args:
            student: changed in place.
            step: that was just taken, 1-based.
        """
        before, now = self.share(step - 1), self.share(step)
        if now < 1.0:
            conv_groups.fade_outside_blocks_(student, self.groups, now / before if before else 0.0)

    def finish(self, model: BigfootForCTC) -> tuple[BigfootForCTC, list[str]]:
        """Cut the kernels to their blocks: what the fading has left outside is 0, so that nothing is lost."""
        grouped, change = conv_groups.apply(model, conv_groups.ConvGroups(self.groups))
        return grouped, [change.describe()]
