"""Step ``supernet``: distil one set of weights whose slices are students of many shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from accelerate import PartialState

from bigfoot.compress.importance import NEEDS_AUDIO, Audio
from bigfoot.compress.subnet import build_space
from bigfoot.compress.supernet import order_units
from bigfoot.config import Problem
from bigfoot.data.batches import sample_batches
from bigfoot.errors import UnfitError
from bigfoot.pipeline.context import Context
from bigfoot.pipeline.facts import StepResult
from bigfoot.pipeline.plan import Plan
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.steps.teaching import DistillationSetup, TaughtStep
from bigfoot.pipeline.steps.training import build_run, train_and_save
from bigfoot.training.supernet import SupernetObjective, WholeWeights, subnet_losses


class SupernetStep(TaughtStep):
    """Distillation of all subnets at once (LightHuBERT: Wang et al., 2022; once-for-all: Cai et al., 2020)."""

    def check(self, plan: Plan) -> Iterator[Problem]:
        """See ``Step``."""
        found = list(super().check(plan))
        yield from found
        config = plan.config.supernet
        if plan.models is None or list(config.find_problems()):
            return
        shape, teacher = plan.models.student, plan.models.teacher.config
        try:
            build_space(shape, config.shares, config.depth, config.bits)
        except UnfitError as error:
            yield from (problem.under(self.name) for problem in error.problems)
        if not found and not subnet_losses(config.losses, shape, teacher):
            message = "subnets learn by posteriors, transcripts or hidden states: set logit_kl, ctc or hidden"
            yield Problem("supernet.losses", "no_loss_of_subnets", message)
        last = [name for name in plan.config.steps[plan.config.steps.index(self.name) + 1 :] if name != "quantize"]
        if last:
            message = f"{', '.join(last)} would train the largest alone, and its slices are no subnets after that; "
            yield Problem("steps", "after_supernet", message + "train those that bigfoot pick wrote, by --finetune")

    def reads_labels(self, config: Config) -> bool:
        """See ``Step``."""
        return super().reads_labels(config) or config.supernet.importance == "taylor"

    def depends_on(self, context: Context) -> dict[str, Any]:
        """See ``Step``; the settings of the teacher's cache are in another section."""
        distill = context.config.distill
        cache = None if distill.cache is None else [distill.cache_dtype, distill.cache_top_k]
        return {**super().depends_on(context), "the cache of the teacher": cache}

    def describe(self, config: Config, precision: str) -> str:
        """See ``Step``."""
        return "largest subnet of a supernet, teacher's CTC head"

    def run(self, result: StepResult, before: StepResult, context: Context, *, control: bool) -> None:
        """See ``Step``."""
        config, setup = context.config.supernet, self.prepare(before, context, control=control)
        student = setup.student
        space = build_space(student.model.config, config.shares, config.depth, config.bits)
        audio = _read_audio(setup, context)
        device = PartialState().device
        student.model = order_units(student.model.to(device), list(space.choices), config.importance, audio).cpu()
        objective = SupernetObjective(
            config, space, student.model, setup.teacher, context.config.seed, setup.bridge
        )
        result.changes = [
            f"supernet: {space.size:.2g} subnets, from {space.smallest.describe()} to {space.largest.describe()}; "
            f"units sorted by {config.importance}"
        ]
        run = build_run(result, context, config, setup.processor, [WholeWeights()])
        train_and_save(result, student, objective, run)


def _read_audio(setup: DistillationSetup, context: Context) -> Sequence[Audio]:
    """Return training audio for importances that are measured on it."""
    config = context.config.supernet
    if config.importance not in NEEDS_AUDIO:
        return []
    manifest, room = context.labels.manifests["train"], context.config.data.known_batch_seconds
    labels = config.importance == "taylor"
    return sample_batches(manifest, setup.student.processor, config.seconds, room, labels=labels)
