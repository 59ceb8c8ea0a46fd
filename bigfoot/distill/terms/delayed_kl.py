"""The teacher's frame posteriors, some frames later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bigfoot.config.problems import Problem
from bigfoot.config.rules import above_zero, not_negative
from bigfoot.distill.loss import LossInputs
from bigfoot.distill.terms.logits import LogitLoss

if TYPE_CHECKING:
    from torch import nn

    from bigfoot.distill.losses import LossSum


@dataclass
class DelayedKLLoss(LogitLoss):
    """Kullback-Leibler divergence from posteriors that the teacher gave frames before (Delayed-KD, Li et al., 2025).

    For a student that streams: it knows less of what comes than the teacher, and may write a token later. Of several
    delays the one of least divergence counts, utterance by utterance.
    """

    weight: float = not_negative(0.0)
    """Its share of the loss; 0 switches it off."""
    delays: list[int] = field(default_factory=lambda: [0, 2, 4])
    """Frames by which the student may be later than the teacher."""
    temperature: float = above_zero(1.0)
    """Softens both distributions, above 0."""

    def find_problems(self) -> Iterator[Problem]:
        """Check the delays."""
        if not self.delays or min(self.delays) < 0 or len(set(self.delays)) < len(self.delays):
            message = f"expected one or more numbers of frames from 0 on, each once, got {self.delays}"
            yield Problem("delays", "bad_delays", message)

    def compute(self, inputs: LossInputs, modules: nn.ModuleList) -> LossSum:
        """See ``Loss``."""
        from bigfoot.distill.losses import delayed_kl

        return delayed_kl(*inputs.both("logits"), inputs.frame_mask, self.delays, self.temperature)
