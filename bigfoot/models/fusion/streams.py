"""Feature streams on their way to a text model: to one width, then to the text model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

PROJECTIONS = ("linear", "conv")


class Frames(NamedTuple):
    """Frames of a stream, at its own rate.

    Args:
        features: (B, T, C), any values on padding.
        frame_mask: (B, T), True = real.
    """

    features: Tensor
    frame_mask: Tensor


@dataclass(frozen=True)
class StreamShape:
    """Shape of the way of a stream.

    Args:
        size: C, width of its frames.
        projection: ``linear``, or ``conv``: a 1-D convolution over time.
        kernel: odd number of frames that the convolution covers.
        stride: frames from one of its outputs to the next.
    """

    size: int
    projection: str = "linear"
    kernel: int = 3
    stride: int = 1


class StreamProjection(nn.Module):
    """Brings a stream to a common width and from there to the text model's; padding changes nothing.

    Args:
        shape: of the stream.
        width: common to all streams.
        text_width: of the text model.
        norm: whether a LayerNorm follows each of the two.

    Examples:
        >>> project = StreamProjection(StreamShape(size=4, projection="conv", stride=2), width=8, text_width=6)
        >>> project(Frames(torch.zeros(1, 5, 4), torch.ones(1, 5, dtype=torch.bool))).features.shape
        torch.Size([1, 3, 6])
    """

    def __init__(self, shape: StreamShape, width: int, text_width: int, norm: bool = True) -> None:
        super().__init__()
        self.shape = shape
        self.first: nn.Module
        if shape.projection == "conv":
            self.first = nn.Conv1d(shape.size, width, shape.kernel, shape.stride, padding=shape.kernel // 2)
        else:
            self.first = nn.Linear(shape.size, width)
        self.first_norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.second = nn.Linear(width, text_width)
        self.second_norm = nn.LayerNorm(text_width) if norm else nn.Identity()

    def forward(self, frames: Frames) -> Frames:
        """Project.

        Args:
            frames: of the stream.

        Returns:
            (B, ceil(T / stride), text width) and its mask; zeros on padding.
        """
        mask = frames.frame_mask
        # The convolution must find zeros behind the end, as it does behind that of an utterance alone.
        features = frames.features.where(mask[..., None], 0.0)
        if self.shape.projection == "conv":
            features = self.first(features.transpose(1, 2)).transpose(1, 2)
            mask = mask[:, :: self.shape.stride]
        else:
            features = self.first(features)
        features = nn.functional.gelu(self.first_norm(features))
        features = self.second_norm(self.second(features))
        return Frames(features.where(mask[..., None], 0.0), mask)


def join_streams(streams: list[Frames]) -> Frames:
    """Put streams one behind the other in time: attention needs no common rate.

    Args:
        streams: of one width, at least one.

    Examples:
        >>> one = Frames(torch.zeros(1, 5, 4), torch.ones(1, 5, dtype=torch.bool))
        >>> join_streams([one, one]).features.shape
        torch.Size([1, 10, 4])
    """
    features, masks = zip(*streams, strict=True)
    return Frames(torch.cat(features, 1), torch.cat(masks, 1))
