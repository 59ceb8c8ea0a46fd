"""The terms of the loss by name: ``TERMS`` at the end is the list of them.

A new term is a class, an entry there, and a section of ``LossesConfig``.
"""

from __future__ import annotations

from collections.abc import Iterator

from bigfoot.config.schema import LossesConfig
from bigfoot.distill.decoder_terms import DECODER, DecoderKLTerm, DecoderTerm
from bigfoot.distill.layer_terms import (
    AttentionTerm,
    GramTerm,
    HeadsTerm,
    HiddenTerm,
    MaskedHiddenTerm,
    ValueRelationTerm,
)
from bigfoot.distill.losses import LossSum, feature_penalty, frame_distance, logit_cosine, logit_kl
from bigfoot.distill.matches import build_projections
from bigfoot.distill.term import Answers, LossTerm, Shapes, Targets
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import compute_ctc_losses


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


class LogitTerm(LossTerm):
    """What compares the logits of two heads over one vocabulary."""

    @staticmethod
    def find_problems(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:
        """See ``LossTerm``."""
        yield from _logit_problems(student, teacher)

    @staticmethod
    def find_targets(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Targets:
        """See ``LossTerm``."""
        return {"logits": {0}}


class LogitKLTerm(LogitTerm):
    """The teacher's posteriors."""

    def forward(self, answers: Answers) -> LossSum:
        """See ``LossTerm``."""
        return logit_kl(*answers.both("logits"), answers.frame_mask, self.losses.logit_kl.temperature)


class LogitCosineTerm(LogitTerm):
    """The direction of the teacher's logits."""

    def forward(self, answers: Answers) -> LossSum:
        """See ``LossTerm``."""
        return logit_cosine(*answers.both("logits"), answers.frame_mask)


class ConvFeaturesTerm(LossTerm):
    """The teacher's convolutional features, through a linear map where widths differ."""

    def __init__(self, losses: LossesConfig, shapes: Shapes) -> None:
        super().__init__(losses, shapes)
        student, teacher = shapes.both
        self.projections = build_projections(1, student.conv_dim[-1], teacher.conv_dim[-1])

    @staticmethod
    def find_targets(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Targets:
        """See ``LossTerm``."""
        return {"conv_features": {0}}

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
    "masked_hidden": MaskedHiddenTerm,
    "heads": HeadsTerm,
    "gram": GramTerm,
    "value_relation": ValueRelationTerm,
    "ctc": CTCTerm,
    DECODER: DecoderTerm,
    "decoder_kl": DecoderKLTerm,
}
"""Every term by its name in ``LossesConfig``, in the order in which they are summed."""
