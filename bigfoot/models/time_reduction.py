"""Fewer frames for the transformer, and as many as before for what comes after it."""

from __future__ import annotations

from torch import Tensor, nn


class TimeReduction(nn.Module):
    """A convolution that makes one frame of several, and one that spreads it again (Lee et al., 2022).

    An utterance whose frames do not come out even is filled up with zeros, in a batch as alone: its last frames are
    heard, where a plain convolution would drop them.

    Args:
        size: width D of the frames.
        factor: frames that become one, 2 or more.

    Examples:
        >>> import torch
        >>> reduction = TimeReduction(4, 2)
        >>> x, mask = reduction.reduce(torch.zeros(2, 5, 4), torch.tensor([[True] * 5, [True] * 2 + [False] * 3]))
        >>> x.shape, mask.sum(-1).tolist(), reduction.restore(x, 5).shape
        (torch.Size([2, 3, 4]), [3, 1], torch.Size([2, 5, 4]))
    """

    def __init__(self, size: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv1d(size, size, factor, stride=factor)
        self.upsampler = nn.ConvTranspose1d(size, size, factor, stride=factor)

    def reduce(self, x: Tensor, frame_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Make one frame of several.

        Args:
            x: (B, T, D).
            frame_mask: (B, T), True = real; None where all are.

        Returns:
            (B, ceil(T / factor), D), and its mask: real where any of the frames was.
        """
        missing = -x.shape[1] % self.factor
        if frame_mask is not None:
            x = x * frame_mask.unsqueeze(-1)
            frame_mask = nn.functional.pad(frame_mask, (0, missing)).unflatten(1, (-1, self.factor)).any(-1)
        x = nn.functional.pad(x, (0, 0, 0, missing))
        return self.conv(x.transpose(1, 2)).transpose(1, 2), frame_mask

    def restore(self, x: Tensor, frames: int) -> Tensor:
        """Spread frames over those they were made of.

        Args:
            x: (B, ceil(T / factor), D).
            frames: T.

        Returns:
            (B, T, D).
        """
        return self.upsampler(x.transpose(1, 2)).transpose(1, 2)[:, :frames]
