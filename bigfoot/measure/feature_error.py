"""Error of a student's convolutional features against its teacher's."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.feature_encoder import PaddedAudio


@torch.no_grad()
def measure_feature_error(student: BigfootForCTC, teacher: BigfootForCTC, batches: Sequence[PaddedAudio]) -> float:
    """Compute the relative squared error of the convolutional features over real frames.

    Args:
        student: with as many feature channels as the teacher.
        teacher: what it is compared with.
        batches: audio.

    Returns:
        |student - teacher|^2 / |teacher|^2, summed over all frames and channels; 0 is equality, 1 is what all zeros
        would give.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> model, audio = load_model("tiny_teacher").model, torch.randn(1, 8000)
        >>> measure_feature_error(model, model, [PaddedAudio(audio, torch.ones(1, 8000, dtype=torch.bool))])
        0.0
    """
    error = energy = 0.0
    encoders = (student.speech_encoder.feature_encoder, teacher.speech_encoder.feature_encoder)
    for batch in batches:
        lengths = batch.attention_mask.sum(1)
        ours, theirs = (encoder(batch.input_values, lengths) for encoder in encoders)
        frames = encoders[0].layer_lengths(lengths)
        mask = (torch.arange(ours.shape[1], device=ours.device) < frames[:, None]).unsqueeze(-1)
        error += float(((ours - theirs).square() * mask).sum())
        energy += float((theirs.square() * mask).sum())
    return error / energy if energy else 0.0
