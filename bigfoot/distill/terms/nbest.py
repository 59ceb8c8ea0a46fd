"""The teacher's most probable texts, whatever its frames and its vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bigfoot.config.problems import Problem
from bigfoot.config.rules import above_zero, share
from bigfoot.distill.loss import Loss, LossInputs

if TYPE_CHECKING:
    from torch import nn

    from bigfoot.distill.losses import LossSum
    from bigfoot.models.configuration import BigfootConfig


@dataclass
class NBestLoss(Loss):
    """Sequence-level distillation (Takashima et al., 2018, section 3): CTC of the teacher's hypotheses by their shares.

    The teacher transcribes train once, before training, and its texts lie beside the manifests in the student's
    characters. Their probabilities are normalized over those that are kept. The loss is the mean over utterances, of an
    utterance a label.
    """

    size: int = above_zero(4)
    """Texts of an utterance."""
    beam_size: int = above_zero(16)
    """Prefixes that the teacher's search keeps after every frame."""
    temperature: float = above_zero(1.0)
    """Softens the shares of the texts."""
    min_confidence: float = share(0.0)
    """Utterances of which the teacher is less sure teach nothing; see ``ctc.min_confidence``."""

    unit: ClassVar[str] = "hypotheses"
    reads_outputs: ClassVar[bool] = False

    def check(self, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[Problem]:
        """See ``Loss``."""
        if not student.ctc_head:
            yield Problem("", "no_student_head", "the student has no CTC head that could learn the teacher's texts")
        if self.beam_size < self.size:
            message = f"{self.beam_size} prefixes end in no more than as many texts, and size is {self.size}"
            yield Problem("beam_size", "below_minimum", message)

    def compute(self, inputs: LossInputs, modules: nn.ModuleList) -> LossSum:
        """See ``Loss``."""
        from bigfoot.distill.losses import expected_ctc

        logits = inputs.student.logits
        assert logits is not None and inputs.hypotheses is not None
        labels, scores = (x[:, : self.size] for x in inputs.hypotheses)
        blank = inputs.shapes.student.pad_token_id or 0
        return expected_ctc(logits, inputs.frame_mask, labels, scores / self.temperature, blank)
