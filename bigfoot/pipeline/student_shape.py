"""Resolve the shape of a student once; invalid parts are dropped and reported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bigfoot.compress import decoder_depth, depth, lowrank, narrow, reshape_to
from bigfoot.compress.conv_groups import groups_per_conv
from bigfoot.compress.registry import reshape_by
from bigfoot.compress.settings import StudentConfig
from bigfoot.config import Problem
from bigfoot.errors import BigfootError, ConfigError, ModelError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.reshape import reshape_config
from bigfoot.pipeline.settings import Config


@dataclass
class StudentShape:
    """Resolved settings of a student.

    Args:
        shape: as needed by losses: without groups and shared kernels of convolutions, and low ranks.
        untouched: the same before ``student.techniques``.
        problems: of the dropped parts.
        unfit: why weights cannot be initialized as configured, or the shape not be changed further.
    """

    shape: BigfootConfig
    untouched: BigfootConfig
    problems: list[Problem] = field(default_factory=list)
    unfit: list[Problem] = field(default_factory=list)


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
    wanted, found = config.student, StudentShape(source, source)
    _cut_depth_(found, wanted, source)
    _cut_decoder_(found, wanted)
    shallow = found.shape
    try:
        found.shape = reshape_to.choose_shape(shallow, wanted.shape)
    except ModelError as error:
        found.problems.append(Problem("student.shape", "bad_shape", str(error)))
    found.unfit += [problem.under("student") for problem in _fit_problems(wanted, source, shallow, found.shape)]
    if wanted.weights == "random" and config.distill.grow_groups:
        message = "random weights have their groups from the start; leave distill.grow_groups out"
        found.unfit.append(Problem("student.weights", "no_growth", message))
    found.untouched = found.shape
    _apply_techniques_(found, wanted)
    return found


def _apply_techniques_(found: StudentShape, wanted: StudentConfig) -> None:
    try:
        found.shape = _reshape_further(found.shape, wanted)
    except ConfigError:
        return  # The section itself reports invalid entries.
    except BigfootError as error:
        found.problems.append(Problem("student.techniques", "not_applicable", str(error)))


def _reshape_further(shape: BigfootConfig, wanted: StudentConfig) -> BigfootConfig:
    """Return the shape after ``student.techniques``; units selected by weights or audio are still included."""
    for settings in wanted.read_techniques():
        shape = reshape_by(shape, settings)
    return shape


def _cut_depth_(found: StudentShape, wanted: StudentConfig, source: BigfootConfig) -> None:
    count, most = wanted.num_hidden_layers, source.num_hidden_layers
    try:
        layers = depth.choose_layers(most, count, wanted.layer_init)
        found.shape = depth.shrink_shape(source, layers)
    except ModelError as error:
        key = "layer_init" if 1 <= count <= most else "num_hidden_layers"
        found.problems.append(Problem(f"student.{key}", "bad_layers", str(error)))
        # Losses are still checked, as far as they depend on depth.
        found.shape = depth.shrink_shape(source, range(min(max(1, count), most)))


def _cut_decoder_(found: StudentShape, wanted: StudentConfig) -> None:
    if wanted.decoder_layers is None:
        return
    try:
        found.shape = decoder_depth.shrink_decoder_shape(found.shape, wanted.decoder_layers)
    except ModelError as error:
        found.problems.append(Problem("student.decoder_layers", "bad_layers", str(error)))


def _fit_problems(
    wanted: StudentConfig, source: BigfootConfig, shallow: BigfootConfig, shape: BigfootConfig
) -> Iterator[Problem]:
    """Yield ``StudentShape.unfit``."""
    if wanted.shape and wanted.shape_init == "least_squares":
        for problem in narrow.narrow_problems(shallow, wanted.shape):
            yield Problem("shape_init", "no_least_squares", problem)
    if (source.decoder is not None or source.task is not None) and "hidden_size" in wanted.shape:
        message = f"the {'task head' if source.decoder is None else 'decoder'} reads frames of the teacher's width; "
        message += "leave it out"
        yield Problem("shape.hidden_size", "width_under_decoder", message)
    if wanted.low_rank.linears:
        for problem in lowrank.low_rank_problems(wanted.low_rank, shape):
            yield Problem("low_rank", "bad_rank", problem)
        if wanted.weights == "random" and not wanted.low_rank.rank:
            message = "random weights know no ranks by energy, which depend on the teacher's; give low_rank.rank"
            yield Problem("weights", "no_rank", message)
    if wanted.change_conv_layers:
        yield from _conv_problems(wanted, shape)


def _conv_problems(wanted: StudentConfig, shape: BigfootConfig) -> Iterator[Problem]:
    grouped = shape
    try:
        grouped = reshape_config(shape, conv_groups=groups_per_conv(shape, wanted.conv_groups))
    except ModelError as error:
        yield Problem("conv_groups", "bad_groups", str(error))
    try:
        reshape_config(grouped, conv_sharing=wanted.conv_sharing)
    except ModelError as error:
        yield Problem("conv_sharing", "bad_sharing", str(error))
    already = shape.conv_sharing or set(shape.groups_of_convs) != {1}
    if wanted.conv_init != "slice" and already:
        message = f"{wanted.conv_init} needs dense kernels; the teacher's are grouped or shared"
        yield Problem("conv_init", "not_dense", message)


def final_shape(config: Config, source: BigfootConfig) -> BigfootConfig:
    """Return the student's shape with groups, shared kernels and low ranks; the source's without a student step.

    Args:
        config: of the run.
        source: shape of the model that it is initialized from.

    Raises:
        ModelError: the shape is invalid, or its ranks depend on the source's weights.
    """
    if "student" not in config.steps:
        return source
    wanted, found = config.student, resolve_student(config, source)
    if found.problems:
        raise ModelError(str(found.problems[0]))
    shape = found.untouched
    if wanted.change_conv_layers:
        groups = groups_per_conv(shape, wanted.conv_groups)
        shape = reshape_config(shape, conv_groups=groups, conv_sharing=wanted.conv_sharing or None)
    if wanted.low_rank.linears:
        shape = reshape_by(shape, wanted.low_rank)
    return _reshape_further(shape, wanted)
