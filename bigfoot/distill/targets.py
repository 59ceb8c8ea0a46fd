"""The teacher at work: frozen, in eval, with what the losses ask for."""

from __future__ import annotations

import torch
from torch import Tensor

from bigfoot.errors import TrainingError
from bigfoot.models.ctc import BigfootForCTC, CTCOutput


def freeze_teacher(teacher: BigfootForCTC) -> BigfootForCTC:
    """Switch off gradients and all that is random in the teacher.

    Args:
        teacher: changed in place.

    Returns:
        The same teacher.
    """
    return teacher.requires_grad_(False).eval()


@torch.no_grad()
def compute_targets(
    teacher: BigfootForCTC, input_values: Tensor, attention_mask: Tensor, **arguments: bool | Tensor
) -> CTCOutput:
    """Ask the teacher.

    Args:
        teacher: as ``freeze_teacher`` left it.
        input_values: (B, N).
        attention_mask: (B, N), True = real.
        arguments: what is asked for besides, such as ``output_hidden_states``, or ``output_attentions``, which takes
            the slower path through every layer; and ``mask_time_indices``, frames that are masked for it.

    Returns:
        Its output without gradients.

    Raises:
        TrainingError: the teacher is in training mode, where dropout would make its outputs random.
    """
    if teacher.training:
        raise TrainingError("the teacher is in training mode, its outputs are random; call freeze_teacher on it")
    return teacher(input_values, attention_mask, **arguments)
