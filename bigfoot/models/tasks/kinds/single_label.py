"""One class of several."""

from __future__ import annotations

from torch import Tensor, nn

from bigfoot.models.tasks.kinds.base import LossOptions, TaskKind, known


class SingleLabel(TaskKind):
    """Softmax over classes, trained by cross-entropy."""

    def losses(self, logits: Tensor, targets: Tensor, options: LossOptions) -> Tensor:
        """See ``TaskKind``."""
        fits = known(targets)
        classes = targets[:, 0].where(fits, 0.0).long()
        losses = nn.functional.cross_entropy(
            logits.float(), classes, weight=options.class_weights, reduction="none",
            label_smoothing=options.label_smoothing,
        )  # fmt: skip
        return losses.where(fits, 0.0)

    def divergences(self, logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """See ``TaskKind``."""
        ours, theirs = ((each.float() / temperature).log_softmax(-1) for each in (logits, teacher))
        return (theirs.exp() * (theirs - ours)).sum(-1) * temperature**2
