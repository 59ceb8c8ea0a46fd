"""Resolve the shape of a student once; techniques that cannot be applied are left out and reported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bigfoot.compress import Depth
from bigfoot.compress.registry import fit_technique
from bigfoot.config import Problem
from bigfoot.errors import UnfitError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.student_techniques import further_techniques, shape_techniques


@dataclass
class StudentShape:
    """Shape of a student, as far as it is known before its weights.

    Args:
        shape: without units and ranks that are chosen by weights or audio.
        problems: why it is not as configured.
        unknown: why it is only known later.
    """

    shape: BigfootConfig
    problems: list[Problem] = field(default_factory=list)
    unknown: Problem | None = None


def resolve_student(config: Config, source: BigfootConfig) -> StudentShape:
    """Resolve the shape of a student.

    Args:
        config: of the run.
        source: shape of the model that it is initialized from.

    Examples:
        >>> from bigfoot.pipeline.settings import load_config
        >>> found = resolve_student(load_config(None, ["student.num_hidden_layers=13"]), BigfootConfig())
        >>> found.shape.num_hidden_layers, [problem.code for problem in found.problems]
        (12, ['bad_layers'])
    """
    found = StudentShape(source)
    for each in [*shape_techniques(config), *further_techniques(config)]:
        fit = fit_technique(found.shape, each.settings)
        found.problems += map(each.locate, fit.problems)
        found.unknown = found.unknown or (None if fit.unknown is None else each.locate(fit.unknown))
        found.shape = fit.shape
        if fit.problems and isinstance(each.settings, Depth):
            # Losses are still checked, as far as they depend on depth.
            count = min(max(1, each.settings.num_hidden_layers), source.num_hidden_layers)
            found.shape = fit_technique(found.shape, Depth(count, "first_k")).shape
    found.problems += _combination_problems(config, source, found)
    return found


def _combination_problems(config: Config, source: BigfootConfig, found: StudentShape) -> Iterator[Problem]:
    """Check settings of the student against each other, and against the decoder."""
    wanted = config.student
    if (source.decoder is not None or source.task is not None) and "hidden_size" in wanted.shape:
        reader = "task head" if source.decoder is None else "decoder"
        message = f"the {reader} reads frames of the teacher's width; leave it out"
        yield Problem("student.shape.hidden_size", "width_under_decoder", message)
    if wanted.init == "shrink" and config.distill.grow_groups:
        message = "a student that shrink cuts has no groups to grow; leave distill.grow_groups out"
        yield Problem("student.init", "no_growth", message)
    if wanted.weights == "random" and config.distill.grow_groups:
        message = "random weights have their groups from the start; leave distill.grow_groups out"
        yield Problem("student.weights", "no_growth", message)
    if wanted.weights == "random" and found.unknown is not None:
        message = f"random weights have no shape that depends on the teacher's weights ({found.unknown})"
        yield Problem("student.weights", "no_rank", message)


def final_shape(config: Config, source: BigfootConfig) -> BigfootConfig:
    """Return the student's shape; the source's without a student step.

    Args:
        config: of the run.
        source: shape of the model that it is initialized from.

    Raises:
        UnfitError: the shape is invalid, or its ranks depend on the source's weights.
    """
    if "student" not in config.steps:
        return source
    found = resolve_student(config, source)
    if found.problems or found.unknown is not None:
        raise UnfitError(*(found.problems or filter(None, [found.unknown])))
    return found.shape
