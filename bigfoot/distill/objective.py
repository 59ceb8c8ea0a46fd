"""The weighted sum of named losses that a training step minimizes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from bigfoot.config.problems import Problem
from bigfoot.data.batches import Batch
from bigfoot.distill.bridge import Bridge
from bigfoot.distill.cache import TeacherCache
from bigfoot.distill.loss import MASKED, Loss, LossInputs, Shapes, Targets
from bigfoot.distill.losses import LossSum
from bigfoot.distill.registry import LossesConfig, losses_by_name
from bigfoot.distill.shared_features import SharedFeatures
from bigfoot.distill.targets import compute_targets, freeze_teacher
from bigfoot.errors import ModelError, TrainingError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC, CTCOutput
from bigfoot.models.decoders.speech_decoder import teacher_forcing
from bigfoot.models.frames.registry import gives_states
from bigfoot.models.frames.timing import frame_timing
from bigfoot.models.tasks.targets import read_targets


def active_losses(losses: LossesConfig) -> dict[str, Loss]:
    """Return the losses with a weight, by name, in the order in which they are summed.

    Examples:
        >>> list(active_losses(LossesConfig()))
        ['logit_kl']
    """
    return {name: loss for name, loss in losses_by_name(losses).items() if loss.weight}


def objective_problems(
    losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig, section: str = "distill.losses"
) -> Iterator[Problem]:
    """Find why a set of losses cannot be computed for a pair of models.

    Args:
        losses: names and weights.
        student: its shape.
        teacher: its shape.
        section: of the configuration where the losses are.

    Yields:
        Problem by problem.
    """
    active = active_losses(losses)
    for name, loss in active.items():
        for problem in loss.check(student, teacher):
            yield problem.under(f"{section}.{name}")
    comparing = [name for name, loss in active.items() if loss.needs_teacher]
    for name in comparing:
        found = _crossing_problems(active[name], student, teacher)
        yield from (problem.under(f"{section}.{name}") for problem in found)
    by_frame = [name for name in comparing if active[name].unit == "frames"]
    if by_frame and student.num_prompts != teacher.num_prompts:
        counts = f"the student has {student.num_prompts} prompts, the teacher {teacher.num_prompts}"
        yield Problem(section, "other_frames", f"{', '.join(by_frame)} compare frame by frame, but {counts}")
    if not active:
        yield Problem(section, "no_loss", "every weight is 0, there is nothing to learn")


_RESAMPLED = {"logits", "hidden_states", "conv_features"}
"""Outputs of a teacher that can be brought to other frames."""
_OF_ANY_ENCODER = {"logits", "hidden_states", "decoder_logits", "task_logits"}
"""Outputs that encoders of other kinds have."""


def _crossing_problems(loss: Loss, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[Problem]:
    """Find outputs that a teacher of another kind lacks, and those that cannot be brought to other frames."""
    try:
        fields = loss.find_targets(student, teacher).keys()
    except ModelError:  # a problem of its settings, found before
        return
    here, there = frame_timing(student), frame_timing(teacher)
    had = _OF_ANY_ENCODER if gives_states(teacher.frame_encoder) else {"logits"}
    if teacher.frame_encoder is not None and (missing := sorted(fields - had)):
        message = f"a teacher with an encoder of another kind has no {', '.join(missing)}; set its weight to 0"
        yield Problem("", "no_such_output", message)
    elif here != there and loss.unit == "frames" and (fixed := sorted(fields - _RESAMPLED)):
        message = (
            f"the student has a frame every {here.period:g} samples from {here.first:g} on, the teacher every "
            f"{there.period:g} from {there.first:g} on, and {', '.join(fixed)} cannot be brought from one to the other"
        )
        yield Problem("", "other_frames", message)


def needed_targets(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Targets:
    """Find the teacher outputs that active losses read.

    Args:
        losses: without problems.
        student: its shape.
        teacher: its shape.

    Returns:
        Layers by field of the teacher's output.
    """
    needed: Targets = {}
    for loss in active_losses(losses).values():
        for field, layers in loss.find_targets(student, teacher).items():
            needed[field] = needed.get(field, set()) | layers
    return needed


class Objective(nn.Module):
    """Student and projections with the losses they are trained on; the projections are dropped afterwards.

    Student and projections are one module, so that gradients of both are averaged when several devices share the work.

    Args:
        losses: names and weights; a loss of weight 0 is not computed.
        student: the model that learns.
        teacher: frozen here, or a cache of its outputs; None where no loss compares with one.
        bridge: to its frames, tokens and loudness; None where only the frames may be others.

    Raises:
        TrainingError: a loss needs a teacher, and there is none.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> losses = LossesConfig()
        >>> sorted(Objective(losses, load_model("tiny_teacher").model, load_model("tiny_teacher").model).weights)
        ['logit_kl']
    """

    steps_done: Tensor

    def __init__(
        self, losses: LossesConfig, student: BigfootForCTC, teacher: BigfootForCTC | TeacherCache | None,
        bridge: Bridge | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._losses = active_losses(losses)
        self.weights = {name: loss.weight for name, loss in self._losses.items()}
        taught = [name for name, loss in self._losses.items() if loss.needs_teacher]
        self._comparing = [name for name in taught if self._losses[name].reads_outputs]
        if teacher is None and taught:
            names = " and ".join(taught)
            raise TrainingError(f"{names}: compared with a teacher, and there is none; set their weights to 0")
        self._decodes = any(loss.needs_decoder for loss in self._losses.values())
        self._outputs = dict.fromkeys((output for loss in self._losses.values() for output in loss.outputs), True)
        self.student = student
        self._shapes = Shapes(student.config, None if teacher is None else teacher.config)
        self.terms = nn.ModuleDict({name: loss.build_modules(self._shapes) for name, loss in self._losses.items()})
        # In the checkpoint, so that a resumed run goes on with the schedules of its losses.
        self.register_buffer("steps_done", torch.zeros((), dtype=torch.int64))
        # In a list, so that the teacher is not taken for a part of this module, saved and put in training mode.
        self._teacher = [freeze_teacher(teacher)] if isinstance(teacher, BigfootForCTC) else []
        self._cache = teacher if isinstance(teacher, TeacherCache) else None
        self._bridge = bridge
        if bridge is None and teacher is not None:
            self._bridge = Bridge.between(student.config, teacher.config)
        needed = {} if teacher is None else needed_targets(losses, student.config, teacher.config)
        self._asks_masked = MASKED in needed
        self._features: SharedFeatures | None = None
        if self._teacher and self._comparing:
            self._features = SharedFeatures(student, self._teacher[0], twice=self._asks_masked)

    @property
    def projections(self) -> nn.Module:
        """Return the modules of all losses, trained beside the student."""
        return self.terms

    @property
    def teachers(self) -> list[BigfootForCTC]:
        """Models without gradients that run for every batch, one entry for each time."""
        return self._teacher * (1 + self._asks_masked) if self._comparing else []

    def count_units(self, batch: Batch) -> dict[str, int]:
        """Count the units of each term's mean before the batch is run: real frames, labels or tokens.

        Args:
            batch: see ``bigfoot.data.batches``.

        Returns:
            A number for each name in ``weights``.
        """
        lengths = self.student.speech_encoder.feature_encoder.frame_lengths(batch.input_lengths)
        frames, timed = int(lengths.sum()), batch.label_times
        aligned = 0 if timed is None else int(lengths[timed[:, 0, 0].isfinite()].sum())
        labels = 0 if batch.labels is None else int((batch.labels >= 0).sum())
        targets = self._token_targets(batch)
        tokens = 0 if targets is None else int((targets >= 0).sum())
        answers = self._task_targets(batch)
        known = 0 if answers is None else int((~answers.isnan()).any(-1).sum())
        written = 0 if batch.hypotheses is None else int(torch.isfinite(batch.hypotheses[1]).any(-1).sum())
        units = {"frames": frames, "labels": labels, "tokens": tokens, "utterances": len(batch), "targets": known,
                 "hypotheses": written, "aligned": aligned}  # fmt: skip
        return {name: units[loss.unit] for name, loss in self._losses.items()}

    def _token_targets(self, batch: Batch) -> Tensor | None:
        """Return the targets of the decoder for a batch."""
        decoder, labels = self.student.decoder, self._along(batch).get("decoder_labels")
        if decoder is None or labels is None:
            return None
        model = decoder.text_model
        return teacher_forcing(labels, model.begin_id, model.end_id)[1]

    def _task_targets(self, batch: Batch) -> Tensor | None:
        """Return the targets of the task head for a batch."""
        head = self.student.task_head
        if head is None or not batch.attributes:
            return None
        return read_targets(head.shape, batch.attributes).to(batch.input_values.device)

    def advance_(self) -> None:
        """Count an optimizer step."""
        self.steps_done += 1

    def deployed(self) -> BigfootForCTC:
        """Return the model that is saved: the student."""
        return self.student

    def move_teacher(self, device: torch.device) -> None:
        """Move the teacher to the student's device; it is no part of this module."""
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
        ours, theirs = self._convolve(batch)
        given = self.find_arguments(batch, masks) | ours
        student = self.student(batch.input_values, batch.attention_mask, **given)
        return self.compare(self.ask_teacher(student, batch, masks, theirs))

    def find_arguments(self, batch: Batch, masks: dict[str, Tensor]) -> dict[str, Any]:
        """Return what the student is called with besides the audio: masks, labels, and the outputs that losses read.

        Args:
            batch: on the student's device.
            masks: see ``forward``.
        """
        return self._outputs | self._along(batch) | masks

    def ask_teacher(
        self, student: CTCOutput, batch: Batch, masks: dict[str, Tensor], features: Mapping[str, Tensor] | None = None
    ) -> LossInputs:
        """Run the teacher, and collect all that losses read.

        Args:
            student: its output for the batch.
            batch: on the student's device.
            masks: see ``forward``.
            features: for the teacher, where they were computed before.
        """
        assert student.frame_mask is not None
        theirs = features or {}
        num_frames = student.frame_mask.shape[1]
        teacher = self._ask(batch, num_frames, **theirs) if self._comparing else None
        masked_frames, masked_teacher = masks.get("mask_time_indices"), teacher
        if masked_frames is not None and self._asks_masked:
            masked_teacher = self._ask(batch, num_frames, mask_time_indices=masked_frames, **theirs)
        # What is shorter than a frame of the teacher teaches nothing: its targets would be zeros.
        real = student.frame_mask
        if teacher is not None and teacher.frame_mask is not None:
            real = real & teacher.frame_mask.any(-1, keepdim=True)
        if masked_frames is not None:
            # Masks end with the longest real utterance; the batch may be padded further.
            masked_frames = nn.functional.pad(masked_frames, (0, num_frames - masked_frames.shape[1]))
        return LossInputs(
            self._shapes, student, teacher, real, batch.labels, masked_frames, masked_teacher,
            self._token_targets(batch), self.steps_done, self._task_targets(batch), batch.hypotheses,
            batch.input_values, batch.label_times,
        )  # fmt: skip

    def compare(self, inputs: LossInputs, names: Collection[str] | None = None) -> dict[str, LossSum]:
        """Compute the terms.

        Args:
            inputs: of ``ask_teacher``.
            names: of the losses to compute; None for all.

        Returns:
            The terms by name, unweighted.
        """
        wanted = self._losses if names is None else {name: self._losses[name] for name in names}
        return {name: loss.compute(inputs, cast(nn.ModuleList, self.terms[name])) for name, loss in wanted.items()}

    def _convolve(self, batch: Batch) -> list[dict[str, Tensor]]:
        """Return features that are computed once, as arguments of student and teacher."""
        if self._features is None or self._bridge is None:
            return [{}, {}]
        audio = self._bridge.find_audio(batch)
        found = self._features.compute(batch.input_values, audio, batch.attention_mask)
        return [{} if features is None else {"conv_features": features} for features in found]

    def _along(self, batch: Batch) -> dict[str, Tensor]:
        """Return the labels that decoders run along."""
        labels = batch.labels if batch.decoder_labels is None else batch.decoder_labels
        return {"decoder_labels": labels} if self._decodes and labels is not None else {}

    def _ask(self, batch: Batch, num_frames: int, **masks: Tensor) -> CTCOutput:
        assert self._bridge is not None
        if self._cache is not None:
            output = self._cache.read(batch, num_frames if self._bridge.keeps_frames else None)
        else:
            asked = self._outputs | self._along(batch) | masks
            output = compute_targets(self._teacher[0], self._bridge.find_audio(batch), batch.attention_mask, **asked)
        assert output.frame_mask is not None
        return self._bridge.cross(output, output.frame_mask, num_frames)
