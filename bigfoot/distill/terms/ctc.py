"""The transcripts, by CTC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bigfoot.config.problems import Problem
from bigfoot.config.rules import share
from bigfoot.distill.loss import Loss, LossInputs

if TYPE_CHECKING:
    from torch import nn

    from bigfoot.distill.losses import LossSum
    from bigfoot.models.configuration import BigfootConfig


@dataclass
class CTCLoss(Loss):
    """Connectionist temporal classification against the transcripts, mean over labels.

    An utterance without a transcript adds nothing.
    """

    min_confidence: float = share(0.0)
    """With ``data.transcripts: none``, utterances of whose transcript the teacher is less sure give no labels: the mean
    probability of its best token, over the frames where that is not the blank."""

    needs_teacher: ClassVar[bool] = False
    unit: ClassVar[str] = "labels"

    def check(self, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[Problem]:
        """See ``Loss``."""
        if not student.ctc_head:
            message = "the student has no CTC head; fine-tune with finetune.head=new instead"
            yield Problem("", "no_student_head", message)

    def compute(self, inputs: LossInputs, modules: nn.ModuleList) -> LossSum:
        """See ``Loss``."""
        from bigfoot.distill.losses import LossSum
        from bigfoot.models.ctc import compute_ctc_losses

        logits, labels = inputs.student.logits, inputs.labels
        assert logits is not None and labels is not None
        losses = compute_ctc_losses(logits, labels, inputs.frame_mask, inputs.shapes.student.pad_token_id or 0)
        return LossSum(losses.sum(), (labels >= 0).sum())
