"""Any number of labels at once."""

from __future__ import annotations

from torch import Tensor, nn

from bigfoot.models.tasks.kinds.base import LossOptions, TaskKind, smooth_binary


class MultiLabel(TaskKind):
    """A sigmoid for each label, trained by binary cross-entropy; labels that are not known count nowhere."""

    @property
    def target_width(self) -> int:
        """See ``TaskKind``."""
        return self.shape.num_labels

    def losses(self, logits: Tensor, targets: Tensor, options: LossOptions) -> Tensor:
        """See ``TaskKind``; ``class_weights`` weigh the positive examples of each label."""
        fits = ~targets.isnan()
        wanted = smooth_binary(targets.where(fits, 0.0), options.label_smoothing)
        each = nn.functional.binary_cross_entropy_with_logits(
            logits.float(), wanted, pos_weight=options.class_weights, reduction="none"
        )
        return each.where(fits, 0.0).sum(-1) / fits.sum(-1).clamp(min=1)
