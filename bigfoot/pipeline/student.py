"""The weights of a student, initialized from those of its source: depth, shape, convolutions, low ranks."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import torch

from bigfoot.compress import conv_groups, conv_sharing, decoder_depth, depth, lowrank, narrow, reshape_to
from bigfoot.compress.audio import LazyAudio
from bigfoot.compress.conv_groups import spell_out_groups
from bigfoot.compress.registry import apply_technique
from bigfoot.compress.settings import StudentConfig
from bigfoot.data.batches import sample_batches
from bigfoot.formats.folder import LoadedModel
from bigfoot.measure.feature_error import measure_feature_error
from bigfoot.measure.size import count_params
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.student_shape import final_shape


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
    student, change = depth.apply(model, depth.Depth(wanted.num_hidden_layers, wanted.layer_init))
    changes = [change.describe()]
    if wanted.decoder_layers is not None:
        student, change = decoder_depth.apply(student, decoder_depth.DecoderDepth(wanted.decoder_layers))
        changes.append(change.describe())
    if wanted.shape:
        if wanted.shape_init == "least_squares":
            student, change = narrow.apply(student, narrow.Narrow(wanted.shape), audio.batches)
        else:
            student, change = reshape_to.apply(student, reshape_to.Reshape(wanted.shape, config.seed))
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
        student, change = lowrank.apply(student, wanted.low_rank, needed)
        changes.append(change.describe())
    for settings in wanted.read_techniques():
        student, change = apply_technique(student, settings, LazyAudio(lambda: audio.batches))
        changes.append(change.describe())
    return student, changes


def _draw_student(model: BigfootForCTC, config: Config) -> tuple[BigfootForCTC, list[str]]:
    shape = final_shape(config, model.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        student = BigfootForCTC(shape).eval()
    return student, [f"weights: the shape alone; all {count_params(student):,} weights begin at random."]


def _change_convs(model: BigfootForCTC, config: Config, audio: InitAudio) -> tuple[BigfootForCTC, list[str]]:
    """Group and share convolutions."""
    wanted, student, changes = config.student, model, []
    if config.distill.grow_groups:
        student, sentence = _prepare_growth(student, wanted)
        changes.append(sentence)
    else:
        groups = conv_groups.ConvGroups(wanted.conv_groups, wanted.conv_init)
        needed = audio.batches if wanted.conv_init == "least_squares" else ()
        student, change = conv_groups.apply(student, groups, needed)
        changes.append(change.describe())
    if wanted.conv_sharing:
        sharing = conv_sharing.ConvSharing(wanted.conv_sharing, wanted.conv_sharing_init)
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
