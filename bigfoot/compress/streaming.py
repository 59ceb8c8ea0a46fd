"""A student that streams: its frames wait for the end of their chunk, and for nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from bigfoot.compress.audio import one_by_one, require_audio
from bigfoot.compress.change import Change
from bigfoot.compress.registry import blaming, technique
from bigfoot.compress.settings import Streaming
from bigfoot.config import Problem
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.feature_encoder import FeatureEncoder
from bigfoot.models.reshape import load_plain_state, plain_state, reshape_config
from bigfoot.models.streaming import follow_level
from bigfoot.types import SAMPLE_RATE, Seconds

LONGEST_CHUNK: Seconds = 0.96
"""Text then is less than a second behind the audio."""
_NORM = "encoder.feature_extractor.conv_layers.0.layer_norm."


def parse_duration(text: str) -> Seconds | None:
    """Read a duration; None where it is none.

    Examples:
        >>> parse_duration("320ms"), parse_duration("0.5 s"), parse_duration("16")
        (0.32, 0.5, None)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s)", text.strip())
    return None if found is None else float(found[1]) / (1000 if found[2] == "ms" else 1)


def _check(shape: BigfootConfig, config: Streaming) -> Iterator[Problem]:
    if config.chunk is None:
        yield Problem("chunk", "missing", "how much audio a chunk has, such as 320ms")
        return
    seconds, frame = parse_duration(config.chunk), shape.inputs_to_logits_ratio / SAMPLE_RATE
    if seconds is None:
        yield Problem("chunk", "bad_duration", f"expected milliseconds or seconds, such as 320ms, got {config.chunk!r}")
    elif seconds > LONGEST_CHUNK:
        message = f"text would come {config.chunk} behind the audio; {LONGEST_CHUNK:g}s is the most"
        yield Problem("chunk", "out_of_range", message)
    elif round(seconds / frame) < 1 or abs(seconds / frame - round(seconds / frame)) > 1e-6:
        message = f"{config.chunk} is no whole number of frames, which are {1000 * frame:g} ms each"
        yield Problem("chunk", "no_whole_frames", message)


def _reshape(shape: BigfootConfig, config: Streaming) -> BigfootConfig:
    seconds = parse_duration(config.chunk or "")
    if seconds is None:
        return shape  # which the check refuses
    frames = round(seconds * SAMPLE_RATE / shape.inputs_to_logits_ratio)
    with blaming("", "cannot_stream"):
        return reshape_config(shape, streaming={"chunk": frames, "left": config.left, "dynamic": config.dynamic})


@technique("streaming", Streaming, _reshape, _check)
def apply(model: BigfootForCTC, config: Streaming, audio: Sequence[object] = ()) -> tuple[BigfootForCTC, Change]:
    """Build a model that streams, with the same weights.

    A group norm of the first convolution, whose statistics are those of a whole recording, becomes a scale and a shift
    by the statistics of training audio.

    Args:
        model: of whole recordings, left as it is.
        config: its chunks.
        audio: real speech; read where there is a group norm.

    Returns:
        The new model in eval mode, and what was kept and dropped.

    Raises:
        UnfitError: a shape that cannot stream; a group norm, and no audio.

    Examples:
        >>> import torch
        >>> from bigfoot.models import BigfootConfig, BigfootForCTC
        >>> config = BigfootConfig(hidden_size=16, num_attention_heads=2, num_hidden_layers=2, intermediate_size=32,
        ...                        conv_dim=[8] * 7, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
        ...                        feat_extract_norm="layer")
        >>> apply(BigfootForCTC(config), Streaming("320ms"))[0].config.streaming
        {'chunk': 16, 'left': 4, 'dynamic': True}
    """
    shape, state = _reshape(model.config, config), dict(plain_state(model))
    kept, dropped = ["all weights"], ["attention beyond the chunk and those before it"]
    if model.config.feat_extract_norm == "group" and model.config.streaming is None:
        require_audio(audio, "chunk", "a group norm over whole recordings, whose statistics are measured instead,")
        mean, spread = _measure_channels(model, audio)
        scale = state[f"{_NORM}weight"] / spread
        state |= {f"{_NORM}weight": scale, f"{_NORM}bias": state[f"{_NORM}bias"] - mean * scale}
        dropped.append("statistics of the recording, in place of which those of training audio stand")
    student = BigfootForCTC(shape)
    load_plain_state(student, state)
    return student.eval(), Change("streaming", kept, dropped)


@torch.no_grad()
def _measure_channels(model: BigfootForCTC, audio: Sequence[object]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel of the first convolution, in the order of its weights."""
    encoder = cast("FeatureEncoder", model.speech_encoder.feature_encoder)
    layer = next(iter(encoder))
    overlap, stride = encoder.receptive_field - encoder.stride, encoder.stride
    totals = torch.zeros(3, layer.conv.out_channels, dtype=torch.float64)
    for utterance in one_by_one(audio):  # type: ignore[arg-type]
        if utterance.input_values.shape[1] < encoder.receptive_field:
            continue
        leveled = follow_level(utterance.input_values, overlap, stride)[:, overlap:]
        y = layer.conv(leveled[:, None])[0].double()
        totals += torch.stack([torch.full_like(y[:, 0], y.shape[1]), y.sum(-1), y.square().sum(-1)])
    count, total, square = totals
    mean = total / count.clamp(min=1)
    assert isinstance(layer.layer_norm, nn.GroupNorm)
    spread = ((square / count.clamp(min=1) - mean.square()).clamp(min=0) + layer.layer_norm.eps).sqrt()
    return mean.float(), spread.float()
