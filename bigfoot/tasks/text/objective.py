"""What a text task is trained on: its labels, and how close speech and text of an utterance are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bigfoot.distill.contrastive import CONTRAST_LOSSES
from bigfoot.distill.losses import LossSum
from bigfoot.models.tasks.kinds.base import LossOptions
from bigfoot.models.tasks.kinds.registry import find_kind
from bigfoot.models.tasks.targets import read_targets
from bigfoot.tasks.text.batches import TextBatch
from bigfoot.tasks.text.model import TextClassifier
from bigfoot.tasks.text.settings import TrainTextConfig


class TextObjective(nn.Module):
    """Model and weighted losses, as ``Trainer`` asks for them.

    Args:
        config: weights and settings of the losses.
        student: the model that learns.
        class_weights: of the task's loss; empty for 1.
    """

    def __init__(self, config: TrainTextConfig, student: TextClassifier, class_weights: list[float]) -> None:
        super().__init__()
        self.config, self.student = config, student
        self.projections = nn.Module()
        weights = {"task": config.task_weight, "contrastive": config.contrastive.weight}
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self._kind, self._class_weights = find_kind(student.shape), class_weights

    def count_units(self, batch: TextBatch) -> dict[str, int]:
        """Count the units of each term's mean: utterances with a label, and all."""
        known = int((~self._targets(batch).isnan()).any(-1).sum())
        return {"task": known, "contrastive": len(batch)}

    def _targets(self, batch: TextBatch) -> Tensor:
        return read_targets(self.student.shape, batch.attributes).to(batch.input_ids.device)

    def advance_(self) -> None:
        """Count an optimizer step; nothing here depends on it."""

    def deployed(self) -> TextClassifier:
        """Return the model that is saved."""
        return self.student

    def move_teacher(self, device: torch.device) -> None:
        """There is no teacher."""

    def forward(self, batch: TextBatch, masks: dict[str, Tensor]) -> dict[str, LossSum]:
        """Compute the terms, unweighted.

        Args:
            batch: on the model's device.
            masks: none.
        """
        answers, terms = self.student(batch), dict[str, LossSum]()
        if "task" in self.weights:
            targets = self._targets(batch)
            weights = torch.tensor(self._class_weights, device=targets.device) if self._class_weights else None
            options = LossOptions(weights, self.config.label_smoothing)
            losses = self._kind.losses(answers.logits.float(), targets, options)
            terms["task"] = LossSum(losses.sum(), (~targets.isnan()).any(-1).sum())
        if "contrastive" in self.weights:
            assert answers.speech is not None and answers.text is not None
            compute = CONTRAST_LOSSES[self.config.contrastive.loss]
            mean = compute(answers.speech, answers.text, self.config.contrastive.temperature)
            count = torch.tensor(len(batch), device=mean.device)
            terms["contrastive"] = LossSum(mean * count, count)
        return terms
