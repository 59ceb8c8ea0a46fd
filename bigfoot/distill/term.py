"""What a term of the loss is: what it is told of the models, what it asks of them, and what it gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from torch import Tensor, nn

from bigfoot.config.schema import LossesConfig
from bigfoot.distill.losses import LossSum
from bigfoot.errors import TrainingError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import CTCOutput

Targets: TypeAlias = dict[str, set[int]]
"""Fields of the teacher's output that are read, with the indices that are read of a tuple; {0} for a tensor."""

MASKED = "masked_hidden_states"
"""Among targets: hidden states of the teacher where the student's masked frames are hidden from it too."""


@dataclass(frozen=True)
class Shapes:
    """What is known before any audio is heard.

    Args:
        student: its shape.
        teacher: its shape; None where only terms without a teacher are asked for.
    """

    student: BigfootConfig
    teacher: BigfootConfig | None

    @property
    def both(self) -> tuple[BigfootConfig, BigfootConfig]:
        """Student's and teacher's.

        Raises:
            TrainingError: there is no teacher.
        """
        if self.teacher is None:
            raise TrainingError("a loss term compares with a teacher, and there is none; set its weight to 0")
        return self.student, self.teacher


@dataclass(frozen=True)
class Answers:
    """What came of one batch.

    Args:
        student: its output.
        teacher: its output; None where no term compares with one.
        frame_mask: (B, T), True = real.
        labels: (B, U), -100 = padding; None without a vocabulary.
        masked_frames: (B, T), True = a frame that SpecAugment hides from the student; None where none is.
        masked_teacher: the teacher's output where the same frames are hidden from it; None where no term asks for it.
        token_targets: (B, U), what the decoder is to say, -100 = not counted; None where no term asks for it.
    """

    student: CTCOutput
    teacher: CTCOutput | None
    frame_mask: Tensor
    labels: Tensor | None
    masked_frames: Tensor | None = None
    masked_teacher: CTCOutput | None = None
    token_targets: Tensor | None = None

    def both(self, name: str) -> tuple[Any, Any]:
        """A field of the student's output, a tensor or a tuple of them, and the same of the teacher's."""
        assert self.teacher is not None
        return self.student[name], self.teacher[name]


class LossTerm(nn.Module):
    """One term of the loss. The parameters of its projections are trained and thrown away with it.

    Args:
        losses: all terms' settings.
        shapes: of the models.
    """

    needs_teacher: ClassVar[bool] = True
    """Whether it compares with a teacher; those that do are off in the control."""
    unit: ClassVar[str] = "frames"
    """What its mean is over: ``frames``, ``labels``, or the decoder's ``tokens``, ends included."""
    needs_decoder: ClassVar[bool] = False
    """Whether the decoder of both models is to run along the labels."""
    outputs: ClassVar[tuple[str, ...]] = ()
    """What it asks of both models besides logits and convolutional features: arguments of their ``forward``."""

    def __init__(self, losses: LossesConfig, shapes: Shapes) -> None:
        super().__init__()
        self.losses, self.shapes = losses, shapes

    @staticmethod
    def find_problems(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:
        """Say why it cannot be computed, each sentence beginning with what stands behind the term's name."""
        yield from ()

    @staticmethod
    def find_targets(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Targets:
        """What it reads of the teacher, where there are no problems."""
        return {}

    def advance_(self) -> None:
        """An optimizer step was taken."""

    def forward(self, answers: Answers) -> LossSum:
        """Compute it, unweighted."""
        raise NotImplementedError
