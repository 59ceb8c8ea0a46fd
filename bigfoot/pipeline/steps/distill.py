"""Step ``distill``: train the student to match the teacher's outputs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

from accelerate import PartialState

from bigfoot.compress.conv_groups import groups_per_conv
from bigfoot.config import Problem
from bigfoot.distill.objective import Objective
from bigfoot.evaluation.evaluate import evaluate_accuracy, missing_wer_reason
from bigfoot.pipeline.context import Context
from bigfoot.pipeline.facts import StepResult
from bigfoot.pipeline.plan import Plan
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.steps.teaching import TaughtStep
from bigfoot.pipeline.steps.train_task import task_judge
from bigfoot.pipeline.steps.training import build_run, train_and_save
from bigfoot.training.growth import GroupGrowth
from bigfoot.training.guards import describe_teacher
from bigfoot.training.hooks import FrozenFeatureEncoder, TrainingHook

log = logging.getLogger("bigfoot")


class DistillStep(TaughtStep):
    """Train with weighted losses against teacher and transcripts; convolution groups may grow."""

    repeats = True

    def check(self, plan: Plan) -> Iterator[Problem]:
        """See ``Step``."""
        yield from super().check(plan)
        if plan.models is None or plan.config.control != "ctc_only":
            return
        source = plan.models.source
        if not source.config.ctc_head:
            message = "ctc_only needs a student with a CTC head, and what it is cut out of has none"
            yield Problem("control", "no_head", message)
        elif source.processor.tokenizer is None and not self.losses(plan.config).ctc.weight:
            message = f"{source.path} has no vocabulary (vocab.json) to tokenize the transcripts with"
            yield Problem("control", "no_vocabulary", message)

    def reads_labels(self, config: Config) -> bool:
        """See ``Step``."""
        return config.control == "ctc_only" or super().reads_labels(config)

    def describe(self, config: Config, precision: str) -> str:
        """See ``Step``."""
        return "distilled, teacher's CTC head"

    def describe_after_control(self, precision: str) -> str:
        """See ``Step``; the control is of this step."""
        return ""

    def run(self, result: StepResult, before: StepResult, context: Context, *, control: bool) -> None:
        """See ``Step``."""
        config, setup = context.config.distill, self.prepare(before, context, control=control)
        objective = Objective(setup.losses, setup.student.model, setup.teacher, setup.bridge)
        if not control:
            _judge_teacher(result, context)
        hooks: list[TrainingHook] = []
        if config.freeze_feature_encoder_steps:
            hooks.append(FrozenFeatureEncoder(config.freeze_feature_encoder_steps))
        if config.grow_groups:
            groups = groups_per_conv(setup.student.model.config, context.config.student.conv_groups)
            hooks.append(GroupGrowth(groups, *config.grow_groups))
        judge = task_judge(setup.student, context)
        run = build_run(result, context, config, setup.processor, hooks, judge)
        train_and_save(result, setup.student, objective, run)


def _judge_teacher(result: StepResult, context: Context) -> None:
    """Warn of a useless teacher before training; pseudo-labels would not reveal it."""
    config, teacher = context.config, context.teacher
    if missing_wer_reason(teacher) or config.data.transcripts == "none":
        return
    home = teacher.model.device
    teacher.model.to(PartialState().device)
    once = replace(config.evaluate, bootstrap_samples=1, decoder="greedy")
    writes = context.models.writes.tokenizer
    as_whom = None if writes == teacher.processor.tokenizer else writes
    dev = evaluate_accuracy(
        teacher, context.data.manifests["dev"], once, config.seed, judged_as=as_whom
    ).transcripts
    teacher.model.to(home)
    warning = describe_teacher(dev.references, dev.hypotheses)
    if warning:
        log.warning("distill: %s", warning)
        result.notes.append(warning)
