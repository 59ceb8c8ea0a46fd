"""Step ``student``: initialize the student from its source model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bigfoot.config import Problem
from bigfoot.formats.folder import load_model
from bigfoot.pipeline.context import Context
from bigfoot.pipeline.facts import StepResult
from bigfoot.pipeline.plan import Plan
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.steps.saving import save_step
from bigfoot.pipeline.steps.step import Step
from bigfoot.pipeline.student import build_student, draw_student, read_audio


class StudentStep(Step):
    """Initialize the student's weights; its shape is in the plan."""

    row = "student_init"
    reshapes = True
    untrained = True

    def check(self, plan: Plan) -> Iterator[Problem]:
        """See ``Step``."""
        if plan.models is not None:
            yield from plan.models.student_problems

    def depends_on(self, context: Context) -> dict[str, Any]:
        """See ``Step``."""
        config = context.config
        # The seed is for new weights, which only another shape, or a control, has.
        drawn = bool(config.student.shape) or config.student.weights == "random"
        settings = [bool(config.distill.grow_groups), config.data.batch_seconds, *([config.seed] if drawn else [])]
        return {"data": context.labels.fingerprint, "other settings": settings}

    def describe(self, config: Config, precision: str) -> str:
        """See ``Step``."""
        return "cut from the teacher, not trained, CTC"

    def run(self, result: StepResult, before: StepResult, context: Context, *, control: bool) -> None:
        """See ``Step``."""
        loaded = load_model(before.folder)
        if context.config.student.weights == "random":
            assert context.plan.models is not None  # a problem otherwise
            model, result.changes = draw_student(context.plan.models.student, context.config.seed)
        else:
            audio = read_audio(context.data.manifests["train"], loaded, context.config)
            model, result.changes = build_student(loaded.model, context.config, audio)
        save_step(result, model, loaded)
