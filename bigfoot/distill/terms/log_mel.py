"""The audio's log mels, predicted from the convolutional features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bigfoot.config.problems import Problem
from bigfoot.config.rules import above_zero
from bigfoot.distill.loss import FadingLoss, LossInputs, Shapes

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bigfoot.distill.losses import LossSum
    from bigfoot.models.configuration import BigfootConfig

WINDOW, HOP = 400, 160


@dataclass
class LogMelLoss(FadingLoss):
    """Mean square error of the log-mel energies that a linear head predicts from the convolutional features.

    Random convolutions pass on little more than loudness for thousands of steps; this teaches them a spectrum within
    some hundreds. The target are windows of 25 ms every 10 ms within what a frame's convolutions read, each band
    brought to mean 0 and variance 1 over the batch. The head is dropped after training.
    """

    bins: int = above_zero(40)
    """Bands from 20 Hz to 8 kHz."""

    needs_teacher: ClassVar[bool] = False

    def check(self, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[Problem]:
        """See ``Loss``."""
        if student.front_end != "convolutions" or student.receptive_field < WINDOW:
            message = f"it is for convolutions whose frames read {WINDOW} samples or more; set its weight to 0"
            yield Problem("", "no_convolutions", message)

    def build_modules(self, shapes: Shapes) -> nn.ModuleList:
        """See ``Loss``."""
        from torch import nn

        width = shapes.student.feature_size
        targets = self.bins * windows_of_frame(shapes.student.receptive_field)
        return nn.ModuleList([nn.Sequential(nn.LayerNorm(width), nn.Linear(width, targets))])

    def compute(self, inputs: LossInputs, modules: nn.ModuleList) -> LossSum:
        """See ``Loss``."""
        from bigfoot.distill.losses import LossSum, frame_distance

        features, audio, shape = inputs.student.conv_features, inputs.audio, inputs.shapes.student
        share, mask = self.share_at(int(inputs.steps_done)), inputs.frame_mask
        assert features is not None and audio is not None
        if not share or not mask.any():
            return LossSum(features.new_zeros(()), mask.sum())
        mels = log_mels(audio.float(), self.bins, shape.receptive_field, shape.inputs_to_logits_ratio)
        mels = mels[:, : mask.shape[1]]
        real = mels[mask]
        target = (mels - real.mean(0)) / real.std(0, correction=0).clamp(min=1e-3)
        found = frame_distance(modules[0](features), target, mask, "mse")
        return LossSum(share * found.total, found.count)


def windows_of_frame(receptive_field: int) -> int:
    """Return how many windows lie within a frame's samples.

    Args:
        receptive_field: samples that a frame reads.

    Examples:
        >>> windows_of_frame(400), windows_of_frame(1000)
        (1, 4)
    """
    return (receptive_field - WINDOW) // HOP + 1


def log_mels(audio: Tensor, bins: int, receptive_field: int, period: int) -> Tensor:
    """Compute the log-mel energies of the samples that each frame reads.

    Args:
        audio: (B, N) at 16 kHz.
        bins: bands.
        receptive_field: samples that a frame reads, ``WINDOW`` or more.
        period: samples from one frame to the next.

    Returns:
        (B, T, windows * bins).

    Examples:
        >>> import torch
        >>> log_mels(torch.zeros(1, 16000), 40, 400, 320).shape
        torch.Size([1, 49, 40])
    """
    import torch

    from bigfoot.models.log_mel import FFT_SIZE, mel_filters

    missing = receptive_field - audio.shape[-1]
    if missing > 0:
        audio = torch.nn.functional.pad(audio, (0, missing))
    parts = audio.unfold(-1, receptive_field, period).unfold(-1, WINDOW, HOP)  # (B, T, windows, WINDOW)
    power = torch.fft.rfft(parts * torch.hann_window(WINDOW, device=audio.device), FFT_SIZE).abs().square()
    return (power @ mel_filters(bins).to(power) + 0.1).log().flatten(2)
