"""The terms of the loss by name: what each asks of the models, how it is computed, and what forbids it.

``TERMS`` at the end is the list of them: a new term is a class, an entry there, and a section of ``LossesConfig``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from bigfoot.config import LossesConfig
from bigfoot.distill.losses import (
    LossSum,
    attention_distance,
    feature_penalty,
    frame_distance,
    logit_cosine,
    logit_kl,
)
from bigfoot.distill.matches import build_layer_matches, build_matches, build_projections
from bigfoot.errors import ModelError, TrainingError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import CTCOutput, compute_ctc_losses


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
    """

    student: CTCOutput
    teacher: CTCOutput | None
    frame_mask: Tensor
    labels: Tensor | None

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
    """What its mean is over: ``frames`` or ``labels``."""
    outputs: ClassVar[tuple[str, ...]] = ()
    """What it asks of both models besides logits and convolutional features: arguments of their ``forward``."""

    def __init__(self, losses: LossesConfig, shapes: Shapes) -> None:
        super().__init__()
        self.losses, self.shapes = losses, shapes

    @staticmethod
    def find_problems(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:
        """Say why it cannot be computed, each sentence beginning with what stands behind the term's name."""
        yield from ()

    def forward(self, answers: Answers) -> LossSum:
        """Compute it, unweighted."""
        raise NotImplementedError


def _logit_problems(student: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:
    if not student.ctc_head:
        yield ": the student has no CTC head whose posteriors could be compared"
    if not teacher.ctc_head:
        yield (
            ": the teacher has no CTC head, so there are no posteriors to learn from; "
            "set its weight to 0 and use distill.losses.hidden"
        )
    elif student.ctc_head and student.vocab_size != teacher.vocab_size:
        yield (
            f": the student's head has {student.vocab_size} tokens, the teacher's {teacher.vocab_size}; "
            "the same posteriors cannot be compared"
        )


class LogitKLTerm(LossTerm):
    """The teacher's posteriors."""

    @staticmethod
    def find_problems(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:
        """See ``LossTerm``."""
        yield from _logit_problems(student, teacher)

    def forward(self, answers: Answers) -> LossSum:
        """See ``LossTerm``."""
        return logit_kl(*answers.both("logits"), answers.frame_mask, self.losses.logit_kl.temperature)


class LogitCosineTerm(LossTerm):
    """The direction of the teacher's logits."""

    @staticmethod
    def find_problems(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:
        """See ``LossTerm``."""
        yield from _logit_problems(student, teacher)

    def forward(self, answers: Answers) -> LossSum:
        """See ``LossTerm``."""
        return logit_cosine(*answers.both("logits"), answers.frame_mask)


def _mean_of(sums: list[LossSum]) -> LossSum:
    # The mean over matches: adding a match must not drown the other terms.
    total = sum((part.total for part in sums), sums[0].total.new_zeros(()))
    return LossSum(total / len(sums), sums[0].count)


class HiddenTerm(LossTerm):
    """The teacher's hidden states, through a linear map a match where widths differ."""

    outputs = ("output_hidden_states",)

    def __init__(self, losses: LossesConfig, shapes: Shapes) -> None:
        super().__init__(losses, shapes)
        student, teacher = shapes.both
        self.matches = build_matches(losses.hidden.matches, student.num_hidden_layers, teacher.num_hidden_layers)
        self.projections = build_projections(len(self.matches), student.hidden_size, teacher.hidden_size)

    @staticmethod
    def find_problems(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:
        """See ``LossTerm``."""
        try:
            build_matches(losses.hidden.matches, student.num_hidden_layers, teacher.num_hidden_layers)
        except ModelError as error:
            yield f".matches: {error}"

    def forward(self, answers: Answers) -> LossSum:
        """See ``LossTerm``."""
        here, there = answers.both("hidden_states")
        pairs = zip(self.matches, self.projections, strict=True)
        distance = self.losses.hidden.distance
        return _mean_of([
            frame_distance(project(here[match.student]), there[match.teacher], answers.frame_mask, distance)
            for match, project in pairs
        ])  # fmt: skip


class AttentionTerm(LossTerm):
    """The teacher's attention maps, averaged over heads."""

    outputs = ("output_attentions",)

    def __init__(self, losses: LossesConfig, shapes: Shapes) -> None:
        super().__init__(losses, shapes)
        student, teacher = shapes.both
        layers = student.num_hidden_layers, teacher.num_hidden_layers
        self.matches = build_layer_matches(losses.attention.matches, *layers)

    @staticmethod
    def find_problems(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:
        """See ``LossTerm``."""
        try:
            build_layer_matches(losses.attention.matches, student.num_hidden_layers, teacher.num_hidden_layers)
        except ModelError as error:
            yield f".matches: {error}"

    def forward(self, answers: Answers) -> LossSum:
        """See ``LossTerm``."""
        here, there = answers.both("attentions")
        distance = self.losses.attention.distance
        return _mean_of([
            attention_distance(here[match.student], there[match.teacher], answers.frame_mask, distance)
            for match in self.matches
        ])  # fmt: skip


class ConvFeaturesTerm(LossTerm):
    """The teacher's convolutional features, through a linear map where widths differ."""

    def __init__(self, losses: LossesConfig, shapes: Shapes) -> None:
        super().__init__(losses, shapes)
        student, teacher = shapes.both
        self.projections = build_projections(1, student.conv_dim[-1], teacher.conv_dim[-1])

    def forward(self, answers: Answers) -> LossSum:
        """See ``LossTerm``."""
        here, there = answers.both("conv_features")
        projected = self.projections[0](here)
        return frame_distance(projected, there, answers.frame_mask, self.losses.conv_features.distance)


class FeaturePenaltyTerm(LossTerm):
    """Small convolutional features."""

    needs_teacher = False

    def forward(self, answers: Answers) -> LossSum:
        """See ``LossTerm``."""
        assert answers.student.conv_features is not None
        return feature_penalty(answers.student.conv_features, answers.frame_mask)


class CTCTerm(LossTerm):
    """The transcripts; an utterance without any adds nothing."""

    needs_teacher = False
    unit = "labels"

    @staticmethod
    def find_problems(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:
        """See ``LossTerm``."""
        if not student.ctc_head:
            yield ": the student has no CTC head; fine-tune with finetune.head=new instead"

    def forward(self, answers: Answers) -> LossSum:
        """See ``LossTerm``."""
        logits, labels = answers.student.logits, answers.labels
        assert logits is not None and labels is not None
        losses = compute_ctc_losses(logits, labels, answers.frame_mask, self.shapes.student.pad_token_id or 0)
        return LossSum(losses.sum(), (labels >= 0).sum())


TERMS: dict[str, type[LossTerm]] = {
    "logit_kl": LogitKLTerm,
    "hidden": HiddenTerm,
    "attention": AttentionTerm,
    "conv_features": ConvFeaturesTerm,
    "logit_cosine": LogitCosineTerm,
    "feature_penalty": FeaturePenaltyTerm,
    "ctc": CTCTerm,
}
"""Every term by its name in ``LossesConfig``, in the order in which they are summed."""
