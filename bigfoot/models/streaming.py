"""What a model that streams has in place of parts that read a whole recording.

Frames attend to their own chunk and some before it (Zhang et al., 2020, "Unified Streaming and Non-streaming Two-pass
End-to-end Model", section 3.2); the positional convolution ends with the chunk (Li et al., 2023, "Dynamic Chunk
Convolution for Unified Streaming and Non-Streaming Conformer ASR"); the level of the audio is followed frame by frame;
the norm of the first convolution has the statistics of training audio. Convolutions over the waveform read no more than
the samples of their frame. So a recording in one pass gives what its chunks give one after the other.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bigfoot.models.attention import attention_key_mask
from bigfoot.models.streaming_shape import StreamingShape

LEVEL_MEMORY = 500
"""Frames after which audio counts 1/e as much in its level, 10 s."""
LEVEL_FLOOR = 1e-4
"""Power of audio that is known before any came."""
LEVEL_FRAMES = 5
"""Frames that it counts as much as."""


class Chunks(NamedTuple):
    """Chunks of one pass.

    Args:
        size: frames of each.
        left: chunks before it that its frames attend to.
    """

    size: int
    left: int

    @classmethod
    def of(cls, shape: StreamingShape | None, size: Tensor | int | None = None) -> Chunks | None:
        """Return the chunks of a model; None where it reads whole recordings.

        Args:
            shape: of the model.
            size: other than the model's own.
        """
        return None if shape is None else cls(shape.chunk if size is None else int(size), shape.left)

    def mask(self, frames: int, frame_mask: Tensor | None, device: torch.device) -> Tensor:
        """Return which frames a frame attends to.

        Args:
            frames: T.
            frame_mask: (B, T), True = real; None where all are.
            device: of the result.

        Returns:
            (B or 1, 1, T, T) of query and key. Padding attends to all real frames, for softmax over nothing is NaN.

        Examples:
            >>> Chunks(2, 1).mask(5, None, torch.device("cpu"))[0, 0].int().tolist()[4]
            [0, 0, 1, 1, 1]
        """
        place = torch.arange(frames, device=device)
        chunk = place // self.size
        behind = chunk[:, None] - chunk
        seen = ((behind >= 0) & (behind <= self.left))[None, None]
        keys = attention_key_mask(frame_mask)
        if keys is None or frame_mask is None:
            return seen
        return torch.where(frame_mask[:, None, :, None], seen & keys, keys)


def convolve_chunks(conv: nn.Conv1d, x: Tensor, size: int) -> Tensor:
    """Convolve over frames, with zeros in place of what comes after a frame's chunk.

    Args:
        conv: centred on its frame, of stride 1.
        x: (B, D, T).
        size: frames of a chunk.

    Returns:
        (B, D, T).

    Examples:
        >>> conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)
        >>> _ = nn.init.ones_(conv.weight)
        >>> convolve_chunks(conv, torch.tensor([[[1.0, 2.0, 4.0, 8.0]]]), 2).tolist()
        [[[3.0, 3.0, 14.0, 12.0]]]
    """
    width, frames = conv.kernel_size[0], x.shape[-1]
    size = min(size, frames)
    before, after = width // 2, width - 1 - width // 2
    count = -(-frames // size)
    padded = nn.functional.pad(x, (before, count * size - frames))
    windows = padded.unfold(-1, before + size, size).transpose(1, 2).flatten(0, 1)  # (B * chunks, D, before + size)
    y = nn.functional.conv1d(nn.functional.pad(windows, (0, after)), conv.weight, conv.bias, groups=conv.groups)
    return y.unflatten(0, (len(x), count)).transpose(1, 2).flatten(2)[..., :frames]


class ChannelScale(nn.Module):
    """Scale and shift of each channel: a norm whose statistics are known before the audio, those of training audio.

    Its tensors have the names and shapes of the group norm in its place.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T) to (B, C, T)."""
        return x * self.weight[:, None] + self.bias[:, None]


def decay_matrix(frames: int) -> Tensor:
    """Return what a frame counts in the sums at a later one, (T, T) of later and earlier.

    Args:
        frames: T.
    """
    place = torch.arange(frames)
    age = (place[:, None] - place).float()
    return (-age / LEVEL_MEMORY).exp().where(age >= 0, 0.0)


def follow_level(samples: Tensor, overlap: int, stride: int) -> Tensor:
    """Bring audio to about unit level without a look ahead.

    With every frame come ``stride`` samples. They are divided by a level that is a mean over all that came so far, in
    which louder frames count more, by their power, so that it keeps through pauses, and older ones less. The first
    samples of a recording, which no frame has for itself, are zero.

    Args:
        samples: (B, N), N at least the receptive field.
        overlap: samples that a frame shares with the next.
        stride: samples from one frame to the next.

    Returns:
        (B, N'), as many samples as frames are made of.

    Examples:
        >>> leveled = follow_level(torch.sin(torch.arange(16000) / 3)[None], 80, 320)
        >>> leveled.shape, bool(abs(leveled[0, 400:].std() - 1) < 0.1)
        (torch.Size([1, 15760]), True)
    """
    frames = (samples.shape[1] - overlap) // stride
    blocks = samples[:, overlap : overlap + frames * stride].float().unflatten(1, (frames, stride))
    decay = decay_matrix(frames).to(samples.device)
    mean = (decay @ blocks.mean(-1, keepdim=True)) / (decay.sum(1, keepdim=True) + LEVEL_FRAMES)
    centred = blocks - mean
    power = centred.square().mean(-1, keepdim=True)
    known = LEVEL_FLOOR * LEVEL_FRAMES
    level = (decay @ power.square() + known * LEVEL_FLOOR) / (decay @ power + known)
    leveled = (centred * level.rsqrt()).flatten(1).to(samples.dtype)
    return nn.functional.pad(leveled, (overlap, 0))
