"""Initialize a student's weights from its source, technique by technique."""

from __future__ import annotations

from pathlib import Path

import torch

from bigfoot.compress.audio import LazyAudio
from bigfoot.compress.conv_groups import groups_per_conv
from bigfoot.compress.registry import apply_techniques
from bigfoot.data.batches import sample_batches
from bigfoot.formats.folder import LoadedModel
from bigfoot.measure.feature_error import measure_feature_error
from bigfoot.measure.size import count_params
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.student_techniques import further_techniques, initial_techniques


def read_audio(manifest: Path, loaded: LoadedModel, config: Config) -> LazyAudio:
    """Return training audio for fits and comparisons at initialization; read on first use.

    Args:
        manifest: of train.
        loaded: its processor normalizes the audio.
        config: of the run.
    """

    def read() -> list[PaddedAudio]:
        seconds, room = config.student.init_seconds, config.data.known_batch_seconds
        batches = sample_batches(manifest, loaded.processor, seconds, room)
        return [PaddedAudio(batch.input_values, batch.attention_mask) for batch in batches]

    return LazyAudio(read)


def build_student(model: BigfootForCTC, config: Config, audio: LazyAudio) -> tuple[BigfootForCTC, list[str]]:
    """Initialize a student from a model.

    Args:
        model: not modified.
        config: its section ``student`` is applied; with ``distill.grow_groups`` convolutions stay dense for now.
        audio: read only if something is fitted to it or compared on it.

    Returns:
        The student in eval mode, and what was kept and dropped, one sentence each.

    Raises:
        ModelError: the shape cannot be built.
    """
    student, changes = apply_techniques(model, initial_techniques(config), audio)
    sentences = [change.describe() for change in changes]
    if config.student.change_conv_layers and config.student.init == "shape":
        sentences += _describe_convs(student, model, config, audio)
    student, changes = apply_techniques(student, [each.settings for each in further_techniques(config)], audio)
    return student, [*sentences, *(change.describe() for change in changes)]


def draw_student(shape: BigfootConfig, seed: int) -> tuple[BigfootForCTC, list[str]]:
    """Initialize a student of a shape at random.

    Args:
        shape: of the plan.
        seed: of the run.

    Returns:
        See ``build_student``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = BigfootForCTC(shape).eval()
    return student, [f"weights: the shape alone; all {count_params(student):,} weights are random."]


def _describe_convs(student: BigfootForCTC, model: BigfootForCTC, config: Config, audio: LazyAudio) -> list[str]:
    """Describe groups that are still to grow, and the distance of the convolutional features."""
    sentences = []
    if config.distill.grow_groups:
        groups = groups_per_conv(student.config, config.student.conv_groups)
        sentences.append(f"conv_groups: dense for now; {groups} groups grow while it is distilled.")
    if student.config.feature_size == model.config.feature_size:
        error = measure_feature_error(student, model, audio)
        features = f"{error:.3f} relative squared error to the teacher's on training audio"
        sentences.append(f"convolutional features: {features}.")
    return sentences
