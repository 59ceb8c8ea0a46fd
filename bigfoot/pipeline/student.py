"""The student as it is cut out of the teacher: depth, shape, groups and sharing of convolutions, low ranks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import torch

from bigfoot.compress import conv_groups, conv_sharing, decoder_depth, depth, lowrank, narrow, reshape_to
from bigfoot.compress.conv_groups import spell_out_groups
from bigfoot.compress.lowrank import spell_out_ranks
from bigfoot.config.schema import StudentConfig
from bigfoot.data.batches import sample_batches
from bigfoot.errors import ModelError
from bigfoot.formats.folder import LoadedModel
from bigfoot.measure.feature_error import measure_feature_error
from bigfoot.measure.size import count_params
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.models.reshape import reshape_config
from bigfoot.pipeline.settings import Config


class InitAudio:
    """Training audio for what is fitted or compared when a student begins; read when first asked for.

    Args:
        manifest: of train.
        loaded: whose processor normalizes it.
        config: of the run.
    """

    def __init__(self, manifest: Path, loaded: LoadedModel, config: Config) -> None:
        self._source = (manifest, loaded.processor, config.student.init_seconds, config.data.batch_seconds)

    @cached_property
    def batches(self) -> list[PaddedAudio]:
        """As the feature encoder takes it."""
        return [PaddedAudio(batch.input_values, batch.attention_mask) for batch in sample_batches(*self._source)]


def build_student(model: BigfootForCTC, config: Config, audio: InitAudio) -> tuple[BigfootForCTC, list[str]]:
    """Cut a student out of a model.

    Args:
        model: left as it is.
        config: its section ``student`` says how; with ``distill.grow_groups`` convolutions stay dense for now.
        audio: read only where something is fitted to it or compared on it.

    Returns:
        The student in eval mode, and what was kept and dropped, a sentence each.

    Raises:
        ModelError: the shape cannot be built.
    """
    wanted = config.student
    if wanted.weights == "random":
        return _draw_student(model, config)
    student, change = depth.apply(model, depth.DepthConfig(wanted.num_hidden_layers, wanted.layer_init))
    changes = [change.describe()]
    if wanted.decoder_layers is not None:
        student, change = decoder_depth.apply(student, decoder_depth.DecoderDepthConfig(wanted.decoder_layers))
        changes.append(change.describe())
    if wanted.shape:
        if wanted.shape_init == "least_squares":
            student, change = narrow.apply(student, narrow.NarrowConfig(wanted.shape), audio.batches)
        else:
            student, change = reshape_to.apply(student, reshape_to.ReshapeConfig(wanted.shape, config.seed))
        changes.append(change.describe())
    if wanted.change_conv_layers:
        student, told = _change_convs(student, config, audio)
        changes += told
        if student.config.conv_dim[-1] == model.config.conv_dim[-1]:
            error = measure_feature_error(student, model, audio.batches)
            features = f"{error:.3f} relative squared error to the teacher's on training audio"
            changes.append(f"convolutional features: {features}.")
    if wanted.low_rank.linears:
        needed = audio.batches if wanted.low_rank.weighting == "activations" else ()
        student, change = lowrank.apply(student, _low_rank(wanted), needed)
        changes.append(change.describe())
    return student, changes


def _draw_student(model: BigfootForCTC, config: Config) -> tuple[BigfootForCTC, list[str]]:
    shape = final_shape(config, model.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        student = BigfootForCTC(shape).eval()
    return student, [f"weights: the shape alone; all {count_params(student):,} weights begin at random."]


def _low_rank(wanted: StudentConfig) -> lowrank.LowRankConfig:
    cut = wanted.low_rank
    return lowrank.LowRankConfig(cut.linears, cut.rank or None, cut.energy, cut.weighting)


def _change_convs(model: BigfootForCTC, config: Config, audio: InitAudio) -> tuple[BigfootForCTC, list[str]]:
    """Group and share convolutions."""
    wanted, student, changes = config.student, model, []
    if config.distill.grow_groups:
        student, sentence = _prepare_growth(student, wanted)
        changes.append(sentence)
    else:
        groups = conv_groups.ConvGroupsConfig(wanted.conv_groups, wanted.conv_init)
        needed = audio.batches if wanted.conv_init == "least_squares" else ()
        student, change = conv_groups.apply(student, groups, needed)
        changes.append(change.describe())
    if wanted.conv_sharing:
        sharing = conv_sharing.ConvSharingConfig(wanted.conv_sharing, wanted.conv_sharing_init)
        needed = audio.batches if wanted.conv_sharing_init == "least_squares" else ()
        student, change = conv_sharing.apply(student, sharing, needed)
        changes.append(change.describe())
    return student, changes


def _prepare_growth(student: BigfootForCTC, wanted: StudentConfig) -> tuple[BigfootForCTC, str]:
    groups = spell_out_groups(student.config, wanted.conv_groups)
    sentence = f"conv_groups: dense for now; {groups} groups grow while it is distilled"
    if wanted.conv_init == "permute":
        return conv_groups.order_channels(student, groups), f"{sentence}, channels put in their order."
    return student, f"{sentence}."


def student_problems(config: Config, teacher: BigfootConfig) -> Iterator[str]:
    """Say why a student cannot be cut out of a teacher.

    Args:
        config: of the run.
        teacher: its shape.

    Yields:
        One sentence a problem, beginning with the key at fault.
    """
    wanted = config.student
    try:
        layers = depth.choose_layers(teacher.num_hidden_layers, wanted.num_hidden_layers, wanted.layer_init)
        shallow = depth.shrink_shape(teacher, layers)
        teacher = _reshape(shallow, wanted)
        if wanted.shape and wanted.shape_init == "least_squares":
            problems = narrow.narrow_problems(shallow, wanted.shape)
            yield from (f"student.shape_init: {problem}" for problem in problems)
    except ModelError as error:
        key = "num_hidden_layers" if "the model has" in str(error) else "layer_init"
        yield str(error) if str(error).startswith("student.") else f"student.{key}: {error}"
    if teacher.decoder is not None and "hidden_size" in wanted.shape:
        yield "student.shape.hidden_size: the decoder listens to frames of the teacher's width; leave it out"
    if wanted.decoder_layers is not None:
        try:
            decoder_depth.shrink_decoder_shape(teacher, wanted.decoder_layers)
        except ModelError as error:
            yield f"student.decoder_layers: {error}"
    if wanted.low_rank.linears:
        problems = lowrank.low_rank_problems(_low_rank(wanted), teacher)
        yield from (f"student.low_rank: {problem}" for problem in problems)
        if wanted.weights == "random" and not wanted.low_rank.rank:
            yield "student.weights: random knows no ranks by energy, which depend on the teacher's; give low_rank.rank"
    if wanted.weights == "random" and config.distill.grow_groups:
        yield "student.weights: random begins with its groups; leave distill.grow_groups out"
    if wanted.change_conv_layers:
        yield from _conv_problems(wanted, teacher)


def student_shape(config: Config, teacher: BigfootConfig) -> BigfootConfig:
    """The student's shape as far as losses care: without groups and shared kernels of convolutions, and low ranks.

    Args:
        config: of the run.
        teacher: its shape.

    Raises:
        ModelError: it cannot be cut out of the teacher; see ``student_problems``.
    """
    wanted = config.student
    layers = depth.choose_layers(teacher.num_hidden_layers, wanted.num_hidden_layers, wanted.layer_init)
    shape = depth.shrink_shape(teacher, layers)
    if wanted.decoder_layers is not None:
        shape = decoder_depth.shrink_decoder_shape(shape, wanted.decoder_layers)
    return _reshape(shape, wanted)


def final_shape(config: Config, teacher: BigfootConfig) -> BigfootConfig:
    """The student's shape with groups, shared kernels and low ranks; the teacher's where no student is cut.

    Args:
        config: of the run.
        teacher: its shape.

    Raises:
        ModelError: it cannot be cut out of the teacher, or its ranks depend on the teacher's weights.
    """
    if "student" not in config.steps:
        return teacher
    wanted, shape = config.student, student_shape(config, teacher)
    if wanted.change_conv_layers:
        groups = spell_out_groups(shape, wanted.conv_groups)
        shape = reshape_config(shape, conv_groups=groups, conv_sharing=wanted.conv_sharing or None)
    cut = wanted.low_rank
    if not cut.linears:
        return shape
    if not cut.rank:
        raise ModelError("student.low_rank: ranks by energy depend on the teacher's weights; give a rank to count them")
    return reshape_config(shape, layer_ranks=spell_out_ranks(shape, cut.linears, cut.rank))


def _reshape(shape: BigfootConfig, wanted: StudentConfig) -> BigfootConfig:
    try:
        return reshape_to.choose_shape(shape, wanted.shape)
    except ModelError as error:
        raise ModelError(f"student.shape: {error}") from error


def _conv_problems(wanted: StudentConfig, teacher: BigfootConfig) -> Iterator[str]:
    try:
        grouped = reshape_config(teacher, conv_groups=spell_out_groups(teacher, wanted.conv_groups))
    except ModelError as error:
        yield f"student.conv_groups: {error}"
        grouped = teacher
    try:
        reshape_config(grouped, conv_sharing=wanted.conv_sharing)
    except ModelError as error:
        yield f"student.conv_sharing: {error}"
    already = teacher.conv_sharing or set(teacher.groups_of_convs) != {1}
    if wanted.conv_init != "slice" and already:
        yield f"student.conv_init: {wanted.conv_init} begins from dense kernels; the teacher's are grouped or shared"


def growth_problems(config: Config) -> Iterator[str]:
    """Say why groups cannot grow while the student is distilled.

    Args:
        config: of the run.

    Yields:
        One sentence a problem, beginning with the key at fault.
    """
    if not config.distill.grow_groups:
        return
    if config.steps[:2] != ["student", "distill"]:
        yield "distill.grow_groups: needs the steps student and distill, in this order, to begin with"
    if config.steps.count("distill") > 1:
        yield "distill.grow_groups: groups grow once, and steps names distill several times"
    if not config.student.change_conv_layers:
        yield "distill.grow_groups: student.change_conv_layers is false, so there are no groups to grow"
    if config.student.conv_init == "least_squares":
        yield "distill.grow_groups: kernels begin dense, so student.conv_init must be slice or permute"
