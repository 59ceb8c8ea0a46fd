"""The weighted sum of named loss terms that a training step minimizes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from bigfoot.config import LossesConfig
from bigfoot.data.batches import Batch
from bigfoot.distill.losses import LossSum, hidden_distance, logit_kl
from bigfoot.distill.matches import build_matches, build_projections
from bigfoot.distill.targets import compute_targets, freeze_teacher
from bigfoot.errors import ModelError, TrainingError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC, CTCOutput, compute_ctc_losses


def objective_problems(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:
    """Say why a set of losses cannot be computed for a pair of models.

    Args:
        losses: names and weights.
        student: its shape.
        teacher: its shape.

    Yields:
        One sentence a problem, beginning with the key at fault.
    """
    if losses.logit_kl.weight and not student.ctc_head:
        yield "distill.losses.logit_kl: the student has no CTC head whose posteriors could be compared"
    if losses.logit_kl.weight and not teacher.ctc_head:
        yield (
            "distill.losses.logit_kl: the teacher has no CTC head, so there are no posteriors to learn from; "
            "set its weight to 0 and use distill.losses.hidden"
        )
    elif losses.logit_kl.weight and student.ctc_head and student.vocab_size != teacher.vocab_size:
        yield (
            f"distill.losses.logit_kl: the student's head has {student.vocab_size} tokens, the teacher's "
            f"{teacher.vocab_size}; the same posteriors cannot be compared"
        )
    if losses.ctc.weight and not student.ctc_head:
        yield "distill.losses.ctc: the student has no CTC head; fine-tune with finetune.head=new instead"
    if losses.hidden.weight:
        try:
            build_matches(losses.hidden.matches, student.num_hidden_layers, teacher.num_hidden_layers)
        except ModelError as error:
            yield f"distill.losses.hidden.matches: {error}"
    if not any((losses.logit_kl.weight, losses.hidden.weight, losses.ctc.weight)):
        yield "distill.losses: every weight is 0, there is nothing to learn"


class Objective(nn.Module):
    """Student and projections with the terms they are trained on; the projections are thrown away afterwards.

    Student and projections are one module, so that gradients of both are averaged when several devices share the work.

    Args:
        losses: names and weights; a term of weight 0 is not computed.
        student: the model that learns.
        teacher: frozen here; None where only CTC is asked for.

    Raises:
        TrainingError: a term needs a teacher, and there is none.

    Example:
        >>> from bigfoot.models.folder import load_model
        >>> losses = LossesConfig()
        >>> sorted(Objective(losses, load_model("tiny_teacher").model, load_model("tiny_teacher").model).weights)
        ['logit_kl']
    """

    def __init__(self, losses: LossesConfig, student: BigfootForCTC, teacher: BigfootForCTC | None) -> None:
        super().__init__()
        if teacher is None and (losses.logit_kl.weight or losses.hidden.weight):
            raise TrainingError("logit_kl and hidden compare with a teacher, and there is none; set their weights to 0")
        self.losses = losses
        self.student = student
        self.projections = nn.ModuleList()
        # In a list, so that the teacher is not taken for a part of this module, saved and put in training mode.
        self._teacher = [] if teacher is None else [freeze_teacher(teacher)]
        if losses.hidden.weight and teacher is not None:
            here, there = student.config, teacher.config
            self.matches = build_matches(losses.hidden.matches, here.num_hidden_layers, there.num_hidden_layers)
            self.projections = build_projections(self.matches, here.hidden_size, there.hidden_size)

    @property
    def weights(self) -> dict[str, float]:
        """Names and weights of the terms that are computed."""
        named = {name: getattr(self.losses, name).weight for name in ("logit_kl", "hidden", "ctc")}
        return {name: weight for name, weight in named.items() if weight}

    def count_units(self, batch: Batch) -> dict[str, int]:
        """What each term's mean is over, known before the batch is run: real frames, or labels.

        Args:
            batch: see ``bigfoot.data.batches``.

        Returns:
            A number for each name in ``weights``.
        """
        frames = int(self.student.speech_encoder.feature_encoder.frame_lengths(batch.input_lengths).sum())
        labels = 0 if batch.labels is None else int((batch.labels >= 0).sum())
        return {name: labels if name == "ctc" else frames for name in self.weights}

    def move_teacher(self, device: torch.device) -> None:
        """Bring the teacher to where the student is; it is no part of this module and does not move along."""
        for teacher in self._teacher:
            teacher.to(device)

    def forward(self, batch: Batch, masks: dict[str, Tensor]) -> dict[str, LossSum]:
        """Run student and teacher on a batch and compare them.

        Args:
            batch: on the student's device.
            masks: SpecAugment's ``mask_time_indices`` and ``mask_feature_indices``, for the student alone.

        Returns:
            The terms by name, unweighted.
        """
        hidden = "hidden" in self.weights
        heard: CTCOutput = self.student(
            batch.input_values, batch.attention_mask, output_hidden_states=hidden, **masks
        )
        terms: dict[str, LossSum] = {}
        if "logit_kl" in self.weights or hidden:
            told = compute_targets(self._teacher[0], batch.input_values, batch.attention_mask, hidden)
            terms |= self._teacher_terms(heard, told)
        if "ctc" in self.weights:
            assert heard.logits is not None and batch.labels is not None
            blank_id = self.student.config.pad_token_id or 0
            losses = compute_ctc_losses(heard.logits, batch.labels, heard.frame_mask, blank_id)
            terms["ctc"] = LossSum(losses.sum(), (batch.labels >= 0).sum())
        return terms

    def _teacher_terms(self, heard: CTCOutput, told: CTCOutput) -> dict[str, LossSum]:
        assert heard.frame_mask is not None
        terms: dict[str, LossSum] = {}
        if "logit_kl" in self.weights:
            assert heard.logits is not None and told.logits is not None
            temperature = self.losses.logit_kl.temperature
            terms["logit_kl"] = logit_kl(heard.logits, told.logits, heard.frame_mask, temperature)
        if "hidden" in self.weights:
            assert heard.hidden_states is not None and told.hidden_states is not None
            distances = [
                hidden_distance(
                    projection(heard.hidden_states[match.student]),
                    told.hidden_states[match.teacher],
                    heard.frame_mask,
                    self.losses.hidden.distance,
                )
                for match, projection in zip(self.matches, self.projections, strict=True)
            ]
            total = sum((d.total for d in distances), heard.frame_mask.new_zeros((), dtype=distances[0].total.dtype))
            # The mean over matches: adding a match must not drown the other terms.
            terms["hidden"] = LossSum(total / len(distances), distances[0].count)
        return terms
