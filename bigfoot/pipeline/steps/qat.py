"""Step ``qat``: train with quantized weights and store them; the last step of a run."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from accelerate.utils import set_seed

from bigfoot.compress.audio import one_by_one
from bigfoot.compress.packing import allot_bits, describe_bits, find_candidates, measure_sensitivity
from bigfoot.compress.quantize import calibrate, nameable_layers
from bigfoot.config import Problem
from bigfoot.data.batches import sample_batches
from bigfoot.distill.bridge import Bridge
from bigfoot.distill.objective import objective_problems
from bigfoot.errors import UnfitError
from bigfoot.formats.folder import LoadedModel, load_model
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.models.reshape import reshape_config
from bigfoot.models.small_weights import SmallWeights
from bigfoot.pipeline.context import Context
from bigfoot.pipeline.facts import StepResult
from bigfoot.pipeline.plan import Plan
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.steps.teaching import DistillationSetup, TaughtStep, usable_processor
from bigfoot.pipeline.steps.training import build_run, train_and_save
from bigfoot.progress import track
from bigfoot.training.qat import QatObjective, StepsHook, first_small
from bigfoot.training.quantizing import QatConfig

log = logging.getLogger("bigfoot")


class QatStep(TaughtStep):
    """Quantization-aware training, taught by the model's own fp32 outputs or by the teacher's."""

    def check(self, plan: Plan) -> Iterator[Problem]:
        """See ``Step``."""
        config, steps = plan.config, plan.config.steps
        if self.name in steps[:-1]:
            message = f"qat comes last, not as in {steps}: quantized weights are neither trained nor cut"
            yield Problem("steps", "bad_order", message)
        if plan.models is None:
            return
        shape = _shape_before(plan.models.student, config)
        if config.qat.teacher == "self":
            yield from objective_problems(config.qat.losses, shape, shape, "qat.losses")
        else:
            yield from super().check(plan)
        try:
            _check_shape(shape, config.qat)
        except UnfitError as error:
            yield from (problem.under(self.name) for problem in error.problems)

    def teaches_itself(self, config: Config) -> bool:
        """See ``TaughtStep``."""
        return config.qat.teacher == "self"

    def describe(self, config: Config, precision: str) -> str:
        """See ``Step``."""
        return f"trained with {precision} weights, CTC"

    def describe_after_control(self, precision: str) -> str:
        """See ``Step``."""
        return f"then trained with {precision} weights"

    def prepare(self, before: StepResult, context: Context, *, control: bool) -> DistillationSetup:
        """See ``TaughtStep``; the model itself is no teacher that a control would do without."""
        if not self.teaches_itself(context.config):
            return super().prepare(before, context, control=control)
        student, teacher = load_model(before.folder), load_model(before.folder).model
        processor = usable_processor(student.processor, context.labels.manifests)
        set_seed(context.config.seed)
        bridge = Bridge.between(student.model.config, teacher.config)
        return DistillationSetup(student, self.losses(context.config), processor, teacher, bridge)

    def run(self, result: StepResult, before: StepResult, context: Context, *, control: bool) -> None:
        """See ``Step``."""
        setup = self.prepare(before, context, control=control)
        config = replace(context.config.qat, losses=setup.losses)
        small, described = _choose(setup.student, config, context)
        log.info("qat: %s", described)
        result.changes = [f"qat: {described}"]
        set_seed(context.config.seed)
        objective = QatObjective(config.losses, setup.student.model, setup.teacher, small, setup.bridge)
        factors = config.learning_rate_factors | {"steps": config.step_learning_rate / config.learning_rate}
        config = replace(config, learning_rate_factors=factors)
        run = build_run(result, context, config, setup.processor, [StepsHook(objective)])
        train_and_save(result, setup.student, objective, run)


def _shape_before(student: BigfootConfig, config: Config) -> BigfootConfig:
    """Return the shape that the step finds; fine-tuning may have given it a head."""
    new_head = "finetune" in config.steps and config.finetune.head != "teacher"
    return reshape_config(student, ctc_head=True) if new_head and not student.ctc_head else student


def _check_shape(shape: BigfootConfig, config: QatConfig) -> None:
    if config.precision == "packed":
        find_candidates(shape, config)
        return
    with torch.device("meta"):
        outline = BigfootForCTC(shape)
    nameable_layers(outline, config.precision, config.keep_fp32)
    if shape.streaming is not None:
        message = "a student that streams does not compute in int8; use precision packed"
        raise UnfitError(Problem("precision", "streaming", message))


def _choose(student: LoadedModel, config: QatConfig, context: Context) -> tuple[SmallWeights, str]:
    """Choose how the folder is written: bits by sensitivity, or ranges by calibration; and describe it."""
    shape = student.model.config
    if config.precision == "packed":
        found = find_candidates(shape, config)
        costs = {layer: dict.fromkeys(widths, 0.0) for layer, widths in found.bits.items()}
        if any(len(widths) > 1 for widths in found.bits.values()):
            costs = measure_sensitivity(student.model, found, _read_audio(student, config, context))
        bits = allot_bits(found, costs)
        return found.as_small(bits), describe_bits(bits, found.count_bytes(bits))
    audio: Any = track(_read_audio(student, config, context), "calibrating", unit="utterances")
    small = first_small(student.model, calibrate(student.model, audio, config.percentile), config.keep_fp32)
    return small, f"{len(small.ranges)} layers compute in int8, ranges measured beforehand and learned"


def _read_audio(student: LoadedModel, config: QatConfig, context: Context) -> Sequence[PaddedAudio]:
    manifest, room = context.labels.manifests["train"], context.config.data.known_batch_seconds
    return [*one_by_one(sample_batches(manifest, student.processor, config.seconds, room))]
