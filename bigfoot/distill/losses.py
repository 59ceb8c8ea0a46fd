"""Distillation losses as plain functions on tensors; each skips padding and gives a sum with its count.

A sum and a count, not a mean: under gradient accumulation and on several devices the loss is the mean over the frames
or labels of the whole batch, which only the one who sees all of it can divide.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class LossSum(NamedTuple):
    """A loss before its mean is taken.

    Args:
        total: scalar, summed over what was counted.
        count: scalar, number of real frames or labels.
    """

    total: Tensor
    count: Tensor  # type: ignore[assignment]  # hides tuple.count, which nobody asks of a loss

    def mean(self) -> Tensor:
        """The mean; 0 where nothing was counted."""
        return self.total / self.count.clamp(min=1)


def _only_real(frames: Tensor, frame_mask: Tensor) -> Tensor:
    # where, not a product: padding may hold infinities, and infinity times zero is NaN. Before the loss, not after it:
    # a padded frame that is left out of the sum still sends NaN back through the softmax, as zero times NaN.
    return frames.float().where(frame_mask.unsqueeze(-1), 0.0)


def _sum_real(per_frame: Tensor, frame_mask: Tensor) -> LossSum:
    return LossSum(per_frame.where(frame_mask, 0.0).sum(), frame_mask.sum())


def logit_kl(student_logits: Tensor, teacher_logits: Tensor, frame_mask: Tensor, temperature: float = 1.0) -> LossSum:
    """Kullback-Leibler divergence of the student from the teacher's frame posteriors (Hinton et al., 2015, section 2).

    Both are softened by the temperature, and the loss is multiplied by its square, so that gradients keep their size.

    Args:
        student_logits: (B, T, V).
        teacher_logits: (B, T, V).
        frame_mask: (B, T), True = real.
        temperature: above 0.

    Returns:
        Sum in nats over real frames, and their number.

    Example:
        >>> import torch
        >>> x = torch.randn(2, 3, 5)
        >>> float(logit_kl(x, x, torch.ones(2, 3, dtype=torch.bool)).mean())
        0.0
    """
    student = (_only_real(student_logits, frame_mask) / temperature).log_softmax(-1)
    teacher = (_only_real(teacher_logits, frame_mask) / temperature).log_softmax(-1)
    per_frame = (teacher.exp() * (teacher - student)).sum(-1)
    return _sum_real(per_frame * temperature**2, frame_mask)


def hidden_distance(student: Tensor, teacher: Tensor, frame_mask: Tensor, distance: str = "mse") -> LossSum:
    """Distance between two hidden states, frame by frame.

    Args:
        student: (B, T, D).
        teacher: (B, T, D).
        frame_mask: (B, T), True = real.
        distance: ``mse`` or ``l1`` (means over D), or ``cosine`` (1 - cosine similarity).

    Returns:
        Sum over real frames, and their number.

    Example:
        >>> import torch
        >>> hidden_distance(torch.ones(1, 2, 4), torch.zeros(1, 2, 4), torch.tensor([[True, False]])).mean()
        tensor(1.)
    """
    student, teacher = _only_real(student, frame_mask), _only_real(teacher, frame_mask)
    if distance == "mse":
        per_frame = (student - teacher).square().mean(-1)
    elif distance == "l1":
        per_frame = (student - teacher).abs().mean(-1)
    elif distance == "cosine":
        per_frame = 1.0 - nn.functional.cosine_similarity(student, teacher, dim=-1)
    else:
        raise ValueError(f"distance {distance!r} is none of mse, l1, cosine")
    return _sum_real(per_frame, frame_mask)
