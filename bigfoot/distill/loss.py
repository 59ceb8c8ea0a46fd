"""What a loss is: its settings, its check, its targets and its term, in one class.

A configuration is read without torch, so a loss imports torch and all that needs it inside its methods.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from bigfoot.config.problems import Problem
from bigfoot.config.rules import not_negative
from bigfoot.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bigfoot.distill.losses import LossSum
    from bigfoot.models.configuration import BigfootConfig
    from bigfoot.models.ctc import CTCOutput

Targets: TypeAlias = dict[str, set[int]]
"""Fields of the teacher's output that are read, with the indices that are read of a tuple; {0} for a tensor."""

DISTANCES = ("mse", "l1", "cosine", "l1_cosine")
"""Distances between frames of features."""

MASKED = "masked_hidden_states"
"""Among targets: hidden states of the teacher where the student's masked frames are masked for it too."""


@dataclass(frozen=True)
class Shapes:
    """Shapes of the models, known before any audio is read.

    Args:
        student: its shape.
        teacher: its shape; None where no loss compares with one.
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
            raise TrainingError("a loss compares with a teacher, and there is none; set its weight to 0")
        return self.student, self.teacher


@dataclass(frozen=True)
class LossInputs:
    """Outputs of student and teacher for one batch, and what else a loss reads.

    Args:
        shapes: of both.
        student: its output.
        teacher: its output; None where no loss compares with one.
        frame_mask: (B, T), True = real.
        labels: (B, U), -100 = padding; None without a vocabulary.
        masked_frames: (B, T), True = a frame that SpecAugment masks for the student; None where none is.
        masked_teacher: the teacher's output with the same frames masked; None where no loss asks for it.
        token_targets: (B, U), what the decoder should write, -100 = not counted; None where no loss asks for it.
        steps_done: optimizer steps taken so far, scalar.
        task_targets: (B, W), of the task head, NaN where not known; None where no loss asks for it.
        hypotheses: the teacher's texts, see ``Batch.hypotheses``; None where no loss asks for them.
        audio: (B, N), what the student was given.
        label_times: see ``Batch.label_times``.
    """

    shapes: Shapes
    student: CTCOutput
    teacher: CTCOutput | None
    frame_mask: Tensor
    labels: Tensor | None
    masked_frames: Tensor | None
    masked_teacher: CTCOutput | None
    token_targets: Tensor | None
    steps_done: Tensor
    task_targets: Tensor | None = None
    hypotheses: tuple[Tensor, Tensor] | None = None
    audio: Tensor | None = None
    label_times: Tensor | None = None

    def both(self, name: str) -> tuple[Any, Any]:
        """Return a field of the student's output, a tensor or a tuple of them, and the same of the teacher's."""
        if self.teacher is None:
            raise TrainingError("a loss compares with a teacher, and there is none; set its weight to 0")
        return self.student[name], self.teacher[name]


@dataclass
class Loss:
    """One term of the training loss: a dataclass whose fields are its settings.

    A loss of your own derives from this class, has ``compute`` at least, and gets its name by ``register_loss``.
    """

    weight: float = not_negative(0.0)
    """Its share of the loss; 0 switches it off."""

    needs_teacher: ClassVar[bool] = True
    """Whether it compares with a teacher; those that do are off in the control."""
    unit: ClassVar[str] = "frames"
    """What its mean is over: ``frames``, ``labels``, the decoder's ``tokens``, ends included, ``utterances``, or
    those of them whose task has a label (``targets``), or whose text the teacher wrote (``hypotheses``); ``aligned``
    are the frames of utterances whose labels have times."""
    reads_outputs: ClassVar[bool] = True
    """Whether the teacher runs in training for it; else it reads what the teacher wrote before."""
    needs_decoder: ClassVar[bool] = False
    """Whether the decoders of both models run along the labels."""
    outputs: ClassVar[tuple[str, ...]] = ()
    """What it asks of both models besides logits and convolutional features: arguments of their ``forward``."""
    compares_tokens: ClassVar[bool] = False
    """Whether both models must have the same vocabulary."""
    needs_all_tokens: ClassVar[bool] = False
    """Whether it reads the logits of all tokens, so that no cache may keep the best alone."""
    needs_masks: ClassVar[bool] = False
    """Whether it is of use only where SpecAugment masks frames."""

    def check(self, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[Problem]:
        """Find why the loss cannot be computed.

        Args:
            student: its shape.
            teacher: its shape.

        Yields:
            Problems whose keys are fields of the loss, or empty for the loss itself.
        """
        yield from ()

    def find_targets(self, student: BigfootConfig, teacher: BigfootConfig) -> Targets:
        """Return the fields that it reads of the teacher's output, for a cache; called where there are no problems.

        Args:
            student: its shape.
            teacher: its shape.
        """
        return {}

    def build_modules(self, shapes: Shapes) -> nn.ModuleList:
        """Build modules that are trained with the student and dropped afterwards; none by default.

        Args:
            shapes: of both models.
        """
        from torch import nn

        return nn.ModuleList()

    def compute(self, inputs: LossInputs, modules: nn.ModuleList) -> LossSum:
        """Compute the loss of a batch, unweighted.

        Args:
            inputs: outputs of student and teacher, masks and labels.
            modules: those of ``build_modules``.

        Returns:
            The sum over what is counted, and the count; padding is in neither.
        """
        raise NotImplementedError


@dataclass
class FadingLoss(Loss):
    """A loss for the start of a training, which may end before it does."""

    until_step: int = not_negative(0)
    """Step from which it counts no more; 0 for never."""
    fade_steps: int = not_negative(0)
    """Steps before that in which its weight falls evenly to 0."""

    def share_at(self, step: int) -> float:
        """Return the share of its weight after some optimizer steps, 1 to 0.

        Args:
            step: optimizer steps taken so far.

        Examples:
            >>> [FadingLoss(1.0, until_step=10, fade_steps=4).share_at(step) for step in (6, 8, 10)]
            [1.0, 0.5, 0.0]
        """
        if not self.until_step:
            return 1.0
        left = self.until_step - step
        return min(1.0, max(0.0, left / self.fade_steps if self.fade_steps else float(left > 0)))
