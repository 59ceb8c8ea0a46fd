"""What several losses share when they compare layers: projections to the teacher's width, means of states, sums."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bigfoot.distill.losses import LossSum


def build_projections(count: int, student_size: int, teacher_size: int) -> nn.ModuleList:
    """Return linear maps from the student's width to the teacher's; identities where the widths agree.

    Args:
        count: how many, one a comparison.
        student_size: width of the student's vectors.
        teacher_size: width of the teacher's.

    Returns:
        As many modules. They serve training alone and are no part of the student.
    """
    if student_size == teacher_size:
        return nn.ModuleList([nn.Identity() for _ in range(count)])
    return nn.ModuleList([nn.Linear(student_size, teacher_size) for _ in range(count)])


def mean_state(states: Sequence[Tensor], last: int, mean_of: int) -> Tensor:
    """Return the mean of hidden states.

    Args:
        states: L+1 of (B, T, D).
        last: index of the last of them.
        mean_of: how many.
    """
    return states[last] if mean_of == 1 else torch.stack(tuple(states[last - mean_of + 1 : last + 1])).mean(0)


def add_up(sums: Sequence[LossSum], weights: Sequence[float] = ()) -> LossSum:
    """Combine the losses of several layers.

    Args:
        sums: over the same frames.
        weights: one factor each; without any it is the mean: another match must not drown the other losses.
    """
    if weights:
        weighted = [weight * part.total for weight, part in zip(weights, sums, strict=True)]
        return LossSum(torch.stack(weighted).sum(), sums[0].count)
    total = sum((part.total for part in sums), sums[0].total.new_zeros(()))
    return LossSum(total / len(sums), sums[0].count)
