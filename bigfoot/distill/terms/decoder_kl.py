"""The teacher's decoder under teacher forcing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bigfoot.config.problems import Problem
from bigfoot.config.rules import above_zero
from bigfoot.distill.loss import Loss, LossInputs, Targets

if TYPE_CHECKING:
    from torch import nn

    from bigfoot.distill.losses import LossSum
    from bigfoot.models.configuration import BigfootConfig


@dataclass
class DecoderKLLoss(Loss):
    """Divergence from the teacher's decoder, token by token along the transcripts, times T squared.

    It is equation 3 of Gandhi et al. (2023).
    """

    temperature: float = above_zero(1.0)
    """Softens both distributions, above 0."""

    needs_decoder: ClassVar[bool] = True
    unit: ClassVar[str] = "tokens"

    def check(self, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[Problem]:
        """See ``Loss``."""
        for whose, shape in (("student", student), ("teacher", teacher)):
            if shape.decoder is None:
                yield Problem("", f"no_{whose}_decoder", f"the {whose} has no decoder")
        if student.vocab_size != teacher.vocab_size:
            message = f"the student's decoder has {student.vocab_size} tokens, the teacher's {teacher.vocab_size}"
            yield Problem("", "other_vocabulary", message)

    def find_targets(self, student: BigfootConfig, teacher: BigfootConfig) -> Targets:
        """See ``Loss``."""
        return {"decoder_logits": {0}}

    def compute(self, inputs: LossInputs, modules: nn.ModuleList) -> LossSum:
        """See ``Loss``."""
        from bigfoot.distill.losses import logit_kl

        assert inputs.token_targets is not None
        return logit_kl(*inputs.both("decoder_logits"), inputs.token_targets >= 0, self.temperature)
