"""The transcripts, by the decoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bigfoot.config.problems import Problem
from bigfoot.config.rules import not_negative, share
from bigfoot.distill.loss import Answers, Loss

if TYPE_CHECKING:
    from torch import nn

    from bigfoot.distill.losses import LossSum
    from bigfoot.models.configuration import BigfootConfig


@dataclass
class DecoderLoss(Loss):
    """Cross-entropy of the decoder's tokens along the transcripts, mean over tokens and ends.

    An utterance without a transcript adds nothing.
    """

    label_smoothing: float = share(0.1)
    """Share of the target that is spread over all tokens (Szegedy et al., 2016), at the first step."""
    label_smoothing_end: float = share(0.1)
    """The same from step ``label_smoothing_steps`` on; between, it changes evenly."""
    label_smoothing_steps: int = not_negative(0)
    """Steps of that change."""

    needs_teacher: ClassVar[bool] = False
    needs_decoder: ClassVar[bool] = True
    unit: ClassVar[str] = "tokens"

    def check(self, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[Problem]:
        """See ``Loss``."""
        if student.decoder is None:
            message = "the student has no decoder; finetune.objective=decoder or joint gives it one"
            yield Problem("", "no_student_decoder", message)

    def smoothing_at(self, step: int) -> float:
        """Label smoothing after some optimizer steps.

        Examples:
            >>> DecoderLoss(1.0, 0.2, 0.0, 10).smoothing_at(5)
            0.1
        """
        done = min(1.0, step / self.label_smoothing_steps) if self.label_smoothing_steps else 1.0
        return self.label_smoothing + done * (self.label_smoothing_end - self.label_smoothing)

    def compute(self, answers: Answers, modules: nn.ModuleList) -> LossSum:
        """See ``Loss``."""
        from bigfoot.distill.losses import token_cross_entropy

        logits, targets = answers.student.decoder_logits, answers.token_targets
        assert logits is not None and targets is not None
        return token_cross_entropy(logits, targets, self.smoothing_at(int(answers.steps_done)))
