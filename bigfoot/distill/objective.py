"""The weighted sum of named loss terms that a training step minimizes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from bigfoot.config.schema import LossesConfig
from bigfoot.data.batches import Batch
from bigfoot.distill.cache import TeacherCache
from bigfoot.distill.losses import LossSum
from bigfoot.distill.targets import compute_targets, freeze_teacher
from bigfoot.distill.term import MASKED, Answers, LossTerm, Shapes, Targets
from bigfoot.distill.terms import TERMS
from bigfoot.errors import TrainingError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC, CTCOutput
from bigfoot.models.decoders.speech_decoder import teacher_forcing


def active_weights(losses: LossesConfig) -> dict[str, float]:
    """Names and weights of the terms that are not switched off.

    Example:
        >>> active_weights(LossesConfig())
        {'logit_kl': 1.0}
    """
    named = {name: getattr(losses, name).weight for name in TERMS}
    return {name: weight for name, weight in named.items() if weight}


def objective_problems(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:
    """Say why a set of losses cannot be computed for a pair of models.

    Args:
        losses: names and weights.
        student: its shape.
        teacher: its shape.

    Yields:
        One sentence a problem, beginning with the key at fault.
    """
    weights = active_weights(losses)
    for name in weights:
        for problem in TERMS[name].find_problems(losses, student, teacher):
            yield f"distill.losses.{name}{problem}"
    comparing = [name for name in weights if TERMS[name].needs_teacher]
    here, there = ((shape.inputs_to_logits_ratio, shape.receptive_field) for shape in (student, teacher))
    if comparing and here != there:
        yield (
            f"distill.losses: {', '.join(comparing)} compare frame by frame, but the student has a frame of {here[1]} "
            f"samples every {here[0]}, the teacher one of {there[1]} every {there[0]}"
        )
    if not weights:
        yield "distill.losses: every weight is 0, there is nothing to learn"


def needed_targets(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Targets:
    """What the terms that are on read of the teacher.

    Args:
        losses: without problems.
        student: its shape.
        teacher: its shape.

    Returns:
        Layers by field of the teacher's output.
    """
    needed: Targets = {}
    for name in active_weights(losses):
        for field, layers in TERMS[name].find_targets(losses, student, teacher).items():
            needed[field] = needed.get(field, set()) | layers
    return needed


class Objective(nn.Module):
    """Student and projections with the terms they are trained on; the projections are thrown away afterwards.

    Student and projections are one module, so that gradients of both are averaged when several devices share the work.

    Args:
        losses: names and weights; a term of weight 0 is not computed.
        student: the model that learns.
        teacher: frozen here, or a cache of its answers; None where no term compares with one.

    Raises:
        TrainingError: a term needs a teacher, and there is none.

    Example:
        >>> from bigfoot.formats.folder import load_model
        >>> losses = LossesConfig()
        >>> sorted(Objective(losses, load_model("tiny_teacher").model, load_model("tiny_teacher").model).weights)
        ['logit_kl']
    """

    def __init__(
        self, losses: LossesConfig, student: BigfootForCTC, teacher: BigfootForCTC | TeacherCache | None
    ) -> None:
        super().__init__()
        self.weights = active_weights(losses)
        self._comparing = [name for name in self.weights if TERMS[name].needs_teacher]
        if teacher is None and self._comparing:
            names = " and ".join(self._comparing)
            raise TrainingError(f"{names}: compared with a teacher, and there is none; set their weights to 0")
        self._decodes = any(TERMS[name].needs_decoder for name in self.weights)
        self._outputs = dict.fromkeys((output for name in self.weights for output in TERMS[name].outputs), True)
        self.student = student
        shapes = Shapes(student.config, None if teacher is None else teacher.config)
        self.terms = nn.ModuleDict({name: TERMS[name](losses, shapes) for name in self.weights})
        # In a list, so that the teacher is not taken for a part of this module, saved and put in training mode.
        self._teacher = [freeze_teacher(teacher)] if isinstance(teacher, BigfootForCTC) else []
        self._cache = teacher if isinstance(teacher, TeacherCache) else None
        needed = {} if teacher is None else needed_targets(losses, student.config, teacher.config)
        self._asks_masked = MASKED in needed

    @property
    def projections(self) -> nn.Module:
        """What is trained beside the student: all the parameters that terms have."""
        return self.terms

    def count_units(self, batch: Batch) -> dict[str, int]:
        """What each term's mean is over, known before the batch is run: real frames, or labels.

        Args:
            batch: see ``bigfoot.data.batches``.

        Returns:
            A number for each name in ``weights``.
        """
        frames = int(self.student.speech_encoder.feature_encoder.frame_lengths(batch.input_lengths).sum())
        labels = 0 if batch.labels is None else int((batch.labels >= 0).sum())
        targets = self._token_targets(batch)
        tokens = 0 if targets is None else int((targets >= 0).sum())
        units = {"frames": frames, "labels": labels, "tokens": tokens}
        return {name: units[TERMS[name].unit] for name in self.terms}

    def _token_targets(self, batch: Batch) -> Tensor | None:
        """What the decoder is to say of a batch."""
        decoder, labels = self.student.decoder, self._along(batch).get("decoder_labels")
        if decoder is None or labels is None:
            return None
        model = decoder.text_model
        return teacher_forcing(labels, model.begin_id, model.end_id)[1]

    def advance_(self) -> None:
        """An optimizer step was taken."""
        for term in self.terms.values():
            assert isinstance(term, LossTerm)
            term.advance_()

    def deployed(self) -> BigfootForCTC:
        """What is saved: the student as it is to be used."""
        return self.student

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
        along = self._along(batch)
        heard: CTCOutput = self.student(batch.input_values, batch.attention_mask, **self._outputs, **along, **masks)
        assert heard.frame_mask is not None
        told = self._ask(batch, heard.frame_mask.shape[1]) if self._comparing else None
        hidden, masked_told = masks.get("mask_time_indices"), told
        if hidden is not None and self._asks_masked:
            masked_told = self._ask(batch, heard.frame_mask.shape[1], mask_time_indices=hidden)
        if hidden is not None:
            # Masks end with the longest real utterance; the batch may be padded further.
            hidden = nn.functional.pad(hidden, (0, heard.frame_mask.shape[1] - hidden.shape[1]))
        answers = Answers(
            heard, told, heard.frame_mask, batch.labels, hidden, masked_told, self._token_targets(batch)
        )
        return {name: term(answers) for name, term in self.terms.items()}

    def _along(self, batch: Batch) -> dict[str, Tensor]:
        """The labels that decoders run along."""
        labels = batch.labels if batch.decoder_labels is None else batch.decoder_labels
        return {"decoder_labels": labels} if self._decodes and labels is not None else {}

    def _ask(self, batch: Batch, num_frames: int, **masks: Tensor) -> CTCOutput:
        if self._cache is not None:
            return self._cache.read(batch, num_frames)
        asked = self._outputs | self._along(batch) | masks
        return compute_targets(self._teacher[0], batch.input_values, batch.attention_mask, **asked)
