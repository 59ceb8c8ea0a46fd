"""Step ``student``: initialize the student from its source model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bigfoot.config import Problem
from bigfoot.formats.folder import load_model
from bigfoot.pipeline.context import Context
from bigfoot.pipeline.facts import StepResult
from bigfoot.pipeline.fingerprints import digest_files
from bigfoot.pipeline.plan import Plan
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.steps.saving import save_step
from bigfoot.pipeline.steps.step import Step
from bigfoot.pipeline.steps.trimming import trim_vocabulary, vocabulary_problems
from bigfoot.pipeline.student import build_student, draw_student, read_audio
from bigfoot.pipeline.vocabulary import vocabulary_file


class StudentStep(Step):
    """Initialize the student's weights; its shape is in the plan."""

    row = "student_init"
    reshapes = True
    untrained = True

    def check(self, plan: Plan) -> Iterator[Problem]:
        """See ``Step``."""
        if plan.models is not None:
            yield from plan.models.student_problems
            yield from vocabulary_problems(plan.config, plan.models.source)

    def depends_on(self, context: Context) -> dict[str, Any]:
        """See ``Step``."""
        config = context.config
        # The seed is for new weights, which only another shape, or a control, has.
        drawn = bool(config.student.shape) or config.student.weights == "random"
        settings: list[object] = [bool(config.distill.grow_groups), config.data.known_batch_seconds]
        settings += [config.seed] if drawn else []
        settings += digest_files(vocabulary_file(config))
        return {"data": context.labels.fingerprint, "other settings": settings}

    def describe(self, config: Config, precision: str) -> str:
        """See ``Step``."""
        if config.student.weights == "random":
            return "random weights, not trained, CTC"
        source = "the teacher" if config.student.path is None else Path(config.student.path).name
        return f"cut from {source}, not trained, CTC"

    def run(self, result: StepResult, before: StepResult, context: Context, *, control: bool) -> None:
        """See ``Step``."""
        loaded = load_model(before.folder)
        if context.config.student.weights == "random":
            assert context.plan.models is not None  # a problem otherwise
            model, result.changes = draw_student(context.plan.models.student, context.config.seed)
        else:
            audio = read_audio(context.data.manifests["train"], loaded, context.config)
            model, result.changes = build_student(loaded.model, context.config, audio)
        if context.config.student.vocabulary is not None:
            model, loaded.processor, sentence = trim_vocabulary(model, loaded.processor, context)
            result.changes.append(sentence)
        save_step(result, model, loaded)
