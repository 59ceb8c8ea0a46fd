"""Plan of a run: its teacher, its source model and its student's shape, each resolved once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bigfoot.config import Problem
from bigfoot.errors import BigfootError
from bigfoot.formats.folder import ModelOutline, outline_model
from bigfoot.formats.languages import LanguageError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.frames.registry import gives_states
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.student_shape import resolve_student
from bigfoot.text.tokenizers import Processor


@dataclass(frozen=True)
class Models:
    """Models of a run, as far as they are known before it starts.

    Args:
        teacher: of distillation.
        source: the model that the student is initialized from; the teacher, unless another is named.
        student: shape of the student, see ``resolve_student``; the source's shape without a student step. If the shape
            is invalid, the closest valid one.
        student_problems: why the shape is invalid.
    """

    teacher: ModelOutline
    source: ModelOutline
    student: BigfootConfig
    student_problems: Sequence[Problem] = ()


    @property
    def writes(self) -> Processor:
        """Whose tokenizer transcripts are for: the source's where it has a head of its own, else the teacher's."""
        own = self.source.config.ctc_head and self.source.processor.tokenizer is not None
        return self.source.processor if own else self.teacher.processor


@dataclass(frozen=True)
class Plan:
    """Configuration and models for checks and steps.

    Args:
        config: of the run, at full scale.
        teacher: None if there is none at its path.
        models: None if one is missing, or cannot be trained.
        problems: reasons for that.
    """

    config: Config
    teacher: ModelOutline | None
    models: Models | None
    problems: Sequence[Problem] = ()

    def before_first(self, name: str) -> list[str]:
        """Return the steps before the first one of a name; none if the run has no such step."""
        steps = self.config.steps
        return steps[: steps.index(name)] if name in steps else []

    def before_last(self, name: str) -> list[str]:
        """Return the steps before the last one of a name; none if the run has no such step."""
        steps = self.config.steps
        return steps[: len(steps) - 1 - steps[::-1].index(name)] if name in steps else []


def resolve_plan(config: Config) -> Plan:
    """Resolve the models of a run; problems are recorded in the plan.

    Args:
        config: of the run, at full scale.

    Examples:
        >>> from bigfoot.pipeline.settings import Config
        >>> plan = resolve_plan(Config())
        >>> plan.models.teacher.config.num_hidden_layers, plan.models.student.num_hidden_layers
        (12, 4)
    """
    try:
        teacher = outline_model(config.teacher.path, language=config.teacher.language)
    except LanguageError as error:
        return Plan(config, None, None, [Problem("teacher.language", "no_language", str(error))])
    except BigfootError as error:
        return Plan(config, None, None, [Problem("teacher.path", "no_model", str(error))])
    source = teacher
    if config.student.path is not None:
        try:
            source = outline_model(config.student.path)
        except BigfootError as error:
            return Plan(config, teacher, None, [Problem("student.path", "no_model", str(error))])
    problems = [] if source is teacher else list(_pair_problems(config))
    if source.config.small_weights is not None and config.steps not in ([], ["quantize"]):
        return Plan(config, teacher, None, [*problems, _quantized_source(config, source)])
    others = set(config.steps) - ({"train_task"} if gives_states(source.config.frame_encoder) else set())
    if source.config.frame_encoder is not None and others:
        return Plan(config, teacher, None, [*problems, _other_encoder(config, source)])
    if "student" not in config.steps:
        return Plan(config, teacher, Models(teacher, source, source.config), problems)
    student = resolve_student(config, source.config)
    return Plan(config, teacher, Models(teacher, source, student.shape, student.problems), problems)


def _pair_problems(config: Config) -> list[Problem]:
    """Check what a source other than the teacher must share with it."""
    problems = []
    if "student" not in config.steps:
        message = "the steps have no student, so that nothing is cut out of it; add the step, or leave it out"
        problems.append(Problem("student.path", "not_read", message))
    return problems


def _other_encoder(config: Config, source: ModelOutline) -> Problem:
    kind = (source.config.frame_encoder or {}).get("kind")
    trainable = gives_states(source.config.frame_encoder)
    others = ", ".join(sorted(set(config.steps) - ({"train_task"} if trainable else set())))
    more = ", and which train_task can train" if trainable else ""
    message = (
        f"{source.path} has an encoder of the kind {kind!r}, which can teach{more}, but no student can be cut out "
        f"of it for {others}; name a wav2vec2-like model for that under student.path"
    )
    return Problem("teacher.path" if config.student.path is None else "student.path", "other_encoder", message)


def _quantized_source(config: Config, source: ModelOutline) -> Problem:
    key = "teacher.path" if config.student.path is None else "student.path"
    message = (
        f"{source.path} has {source.config.precision} weights, which are neither cut nor trained; bring it back first "
        "(bigfoot quantize MODEL OUT --precision float32), or cut the student out of another model (student.path)"
    )
    return Problem(key, "quantized", message)
