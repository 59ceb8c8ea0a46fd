"""Terms of the loss over the decoder's tokens."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from bigfoot.config.schema import LossesConfig
from bigfoot.distill.losses import LossSum, logit_kl, token_cross_entropy
from bigfoot.distill.term import Answers, LossTerm, Shapes, Targets
from bigfoot.models.configuration import BigfootConfig

DECODER = "decoder"
"""Name of the term by which a decoder learns the transcripts."""


class DecoderTerm(LossTerm):
    """The transcripts, token by token; an utterance without any adds nothing."""

    needs_teacher = False
    needs_decoder = True
    unit = "tokens"
    steps_done: Tensor

    def __init__(self, losses: LossesConfig, shapes: Shapes) -> None:
        super().__init__(losses, shapes)
        # In the checkpoint, so that a run taken up again goes on with the schedule.
        self.register_buffer("steps_done", torch.zeros((), dtype=torch.int64))

    @staticmethod
    def find_problems(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:
        """See ``LossTerm``."""
        if student.decoder is None:
            yield ": the student has no decoder; finetune.objective=decoder or joint gives it one"

    def advance_(self) -> None:
        """See ``LossTerm``."""
        self.steps_done += 1

    @property
    def smoothing(self) -> float:
        """Label smoothing at this step."""
        config = self.losses.decoder
        done = min(1.0, int(self.steps_done) / config.label_smoothing_steps) if config.label_smoothing_steps else 1.0
        return config.label_smoothing + done * (config.label_smoothing_end - config.label_smoothing)

    def forward(self, answers: Answers) -> LossSum:
        """See ``LossTerm``."""
        logits, targets = answers.student.decoder_logits, answers.token_targets
        assert logits is not None and targets is not None
        return token_cross_entropy(logits, targets, self.smoothing)


class DecoderKLTerm(LossTerm):
    """The teacher's decoder under teacher forcing (Gandhi et al., 2023, equation 3)."""

    needs_decoder = True
    unit = "tokens"

    @staticmethod
    def find_problems(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:
        """See ``LossTerm``."""
        for whose, shape in (("student", student), ("teacher", teacher)):
            if shape.decoder is None:
                yield f": the {whose} has no decoder"
        if student.vocab_size != teacher.vocab_size:
            yield f": the student's decoder has {student.vocab_size} tokens, the teacher's {teacher.vocab_size}"

    @staticmethod
    def find_targets(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Targets:
        """See ``LossTerm``."""
        return {"decoder_logits": {0}}

    def forward(self, answers: Answers) -> LossSum:
        """See ``LossTerm``."""
        assert answers.token_targets is not None
        mask = answers.token_targets >= 0
        return logit_kl(*answers.both("decoder_logits"), mask, self.losses.decoder_kl.temperature)
