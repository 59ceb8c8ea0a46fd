"""Bring frames of one rate to another: each new frame is a mean of those around its centre, padding left out."""

from __future__ import annotations

import torch
from torch import Tensor

from bigfoot.models.frames.timing import FrameTiming


def resampling_weights(frame_mask: Tensor, given: FrameTiming, wanted: FrameTiming, num_frames: int) -> Tensor:
    """Compute the share of each given frame in each new one.

    A triangle around the new frame's centre, as wide as the longer of both periods to either side: between two frames
    of a slower rate that is linear interpolation, and of a faster rate no frame is passed over. Where no frame is so
    near, as behind the last one, the nearest has it all.

    Args:
        frame_mask: (B, T'), True = real, the real ones at the front.
        given: timing of these frames.
        wanted: timing of the new ones.
        num_frames: T, how many new ones.

    Returns:
        (B, T, T') rows that sum to 1, with 0 on padding; zeros for an utterance without a real frame.

    Examples:
        >>> mask = torch.tensor([[True, True, False]])
        >>> resampling_weights(mask, FrameTiming(640.0, 320.0), FrameTiming(320.0, 160.0), 4)[0].tolist()
        [[1.0, 0.0, 0.0], [0.75, 0.25, 0.0], [0.25, 0.75, 0.0], [0.0, 1.0, 0.0]]
    """
    places = torch.arange(frame_mask.shape[1], dtype=torch.float64, device=frame_mask.device)
    centres = torch.arange(num_frames, dtype=torch.float64, device=frame_mask.device)
    there, here = given.first + given.period * places, wanted.first + wanted.period * centres
    reach = max(given.period, wanted.period)
    gaps = (here[:, None] - there).abs()  # (T, T')
    near = (1.0 - gaps / reach).clamp(min=0.0) * frame_mask[:, None, :]
    total = near.sum(-1, keepdim=True)
    nearest = gaps.masked_fill(~frame_mask[:, None, :], torch.inf).argmin(-1)
    alone = torch.nn.functional.one_hot(nearest, len(places)) * frame_mask[:, None, :]
    # A whole triangle sums to more than 1; at the ends a part of it is missing.
    return torch.where(total > 1e-9, near / total.clamp(min=1e-9), alone.double()).float()


def resample_states(states: Tensor, weights: Tensor) -> Tensor:
    """Bring vectors to another rate.

    Args:
        states: (B, T', D).
        weights: (B, T, T') of ``resampling_weights``.

    Returns:
        (B, T, D) float32.
    """
    # 0 times what stands in padding is 0 only where that is finite.
    return weights @ states.float().nan_to_num(0.0, 0.0, 0.0)


def resample_log_probs(log_probs: Tensor, weights: Tensor) -> Tensor:
    """Bring posteriors to another rate: the means are of probabilities, so that each frame sums to 1.

    Args:
        log_probs: (B, T', V).
        weights: (B, T, T') of ``resampling_weights``.

    Returns:
        (B, T, V) float32 log probabilities, none below ``LEAST``.

    Examples:
        >>> log_probs = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]).log()
        >>> resample_log_probs(log_probs, torch.tensor([[[0.75, 0.25]]])).exp()
        tensor([[[0.7500, 0.2500]]])
    """
    return (weights @ log_probs.float().exp()).clamp(min=LEAST).log()


LEAST = 1e-30
"""Least probability: its logarithm is a number, and softened by a temperature it is still next to nothing."""
