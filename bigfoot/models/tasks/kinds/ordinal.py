"""Ratings in order: a threshold between each and the next."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bigfoot.models.tasks.kinds.base import LossOptions, TaskKind, known, smooth_binary


class SharedThresholds(nn.Module):
    """One direction and a bias for each threshold, so that the thresholds never cross (Cao et al., 2020, section 3.3).

    Args:
        width: of the input.
        num_thresholds: ratings less one.
    """

    def __init__(self, width: int, num_thresholds: int) -> None:
        super().__init__()
        self.direction = nn.Linear(width, 1, bias=False)
        # From easy to hard, as far apart as equally frequent ratings would be.
        shares = torch.arange(1, num_thresholds + 1) / (num_thresholds + 1)
        self.biases = nn.Parameter(torch.logit(1 - shares))

    def forward(self, x: Tensor) -> Tensor:
        """From (B, ``width``) to (B, ``num_thresholds``)."""
        found: Tensor = self.direction(x) + self.biases
        return found


class Ordinal(TaskKind):
    """A logit for each threshold between ratings, by CORAL or by CORN.

    CORAL's logit k is of a rating above k. CORN's is of a rating above k among those above k - 1 (Shi et al., 2021,
    equation 5), so its logit k is trained on those alone. The loss is the mean over thresholds.
    """

    @property
    def num_outputs(self) -> int:
        """See ``TaskKind``."""
        return self.shape.num_labels - 1

    def build_output(self, width: int) -> nn.Module:
        """See ``TaskKind``."""
        coral = self.shape.link == "coral"
        return SharedThresholds(width, self.num_outputs) if coral else super().build_output(width)

    def losses(self, logits: Tensor, targets: Tensor, options: LossOptions) -> Tensor:
        """See ``TaskKind``; ``class_weights`` weigh utterances by their rating."""
        fits = known(targets)
        ratings = targets.where(fits[:, None], 0.0)  # (B, 1)
        thresholds = torch.arange(self.num_outputs, device=logits.device)
        wanted = smooth_binary((ratings > thresholds).float(), options.label_smoothing)
        each = nn.functional.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")
        if self.shape.link == "corn":
            each = each.where(ratings >= thresholds, 0.0)
        losses = each.mean(-1)
        if options.class_weights is not None:
            losses = losses * options.class_weights[ratings[:, 0].long()]
        return losses.where(fits, 0.0)
