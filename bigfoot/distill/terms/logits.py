"""What losses over the logits of two heads have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bigfoot.config.problems import Problem
from bigfoot.distill.loss import Loss, Targets

if TYPE_CHECKING:
    from bigfoot.models.configuration import BigfootConfig


@dataclass
class LogitLoss(Loss):
    """Compare the logits of two CTC heads over one vocabulary."""

    compares_tokens: ClassVar[bool] = True

    def check(self, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[Problem]:
        """See ``Loss``."""
        if not student.ctc_head:
            yield Problem("", "no_student_head", "the student has no CTC head whose posteriors could be compared")
        if not teacher.ctc_head:
            message = "the teacher has no CTC head, so there are no posteriors to learn from; set its weight to 0"
            yield Problem("", "no_teacher_head", f"{message} and use distill.losses.hidden")
        elif student.ctc_head and student.vocab_size != teacher.vocab_size:
            message = f"the student's head has {student.vocab_size} tokens, the teacher's {teacher.vocab_size}"
            yield Problem("", "other_vocabulary", f"{message}; their posteriors cannot be compared")

    def find_targets(self, student: BigfootConfig, teacher: BigfootConfig) -> Targets:
        """See ``Loss``."""
        return {"logits": {0}}
