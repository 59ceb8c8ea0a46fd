"""Step ``gates``: distill with gates that learn which units to prune, then prune them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from bigfoot.compress.gates import gated_units
from bigfoot.config import Problem
from bigfoot.errors import UnfitError
from bigfoot.pipeline.context import Context
from bigfoot.pipeline.facts import StepResult
from bigfoot.pipeline.plan import Plan
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.steps.teaching import TaughtStep
from bigfoot.pipeline.steps.training import build_run, train_and_save
from bigfoot.training.gated import GatedObjective, GatesHook


class GatesStep(TaughtStep):
    """Distillation with hard-concrete gates on the student's units."""

    reshapes = True

    def check(self, plan: Plan) -> Iterator[Problem]:
        """See ``Step``."""
        yield from super().check(plan)
        if plan.models is None:
            return
        try:
            gated_units(plan.models.student, plan.config.gates.parts)
        except UnfitError as error:
            yield from (problem.under(self.name) for problem in error.problems)

    def depends_on(self, context: Context) -> dict[str, Any]:
        """See ``Step``; the settings of the teacher's cache are in another section."""
        distill = context.config.distill
        cache = None if distill.cache is None else [distill.cache_dtype, distill.cache_top_k]
        return {**super().depends_on(context), "the cache of the teacher": cache}

    def remaining_share(self, config: Config) -> float | None:
        """See ``Step``."""
        return 1 - config.gates.sparsity

    def describe(self, config: Config, precision: str) -> str:
        """See ``Step``."""
        return "distilled with gates and cut, teacher's CTC head"

    def run(self, result: StepResult, before: StepResult, context: Context, *, control: bool) -> None:
        """See ``Step``."""
        setup = self.prepare(before, context, control=control)
        config = replace(context.config.gates, losses=setup.losses)
        objective = GatedObjective(config, setup.student.model, setup.teacher, context.config.seed, setup.bridge)
        factors = config.learning_rate_factors | {"gates": config.gate_learning_rate / config.learning_rate}
        config = replace(config, learning_rate_factors=factors)
        run = build_run(result, context, config, setup.processor, [GatesHook(objective)])
        train_and_save(result, setup.student, objective, run)
