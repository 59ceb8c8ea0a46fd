"""The labels of a task, by its head; and the teacher's answers to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from bigfoot.config.problems import Problem
from bigfoot.config.rules import above_zero, share
from bigfoot.distill.loss import Loss, LossInputs

if TYPE_CHECKING:
    from torch import nn

    from bigfoot.distill.losses import LossSum
    from bigfoot.models.configuration import BigfootConfig


@dataclass
class TaskLoss(Loss):
    """The loss of the student's task head against the labels, mean over labelled utterances.

    Cross-entropy for classes, binary cross-entropy for several labels, CORAL or CORN for ratings, the squared error for
    numbers.
    """

    label_smoothing: float = share(0.0)
    """Share of the target that is spread over all classes."""
    class_weights: list[float] = field(default_factory=list)
    """Weights of the classes, or of the positive examples of each label; empty for 1."""

    needs_teacher: ClassVar[bool] = False
    unit: ClassVar[str] = "targets"

    def check(self, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[Problem]:
        """See ``Loss``."""
        if student.task is None:
            yield Problem("", "no_task_head", "the student has no task head; train one first (step train_task)")
        elif self.class_weights and len(self.class_weights) != len(student.task.get("labels", [])):
            message = f"expected a weight for each label of {student.task.get('labels')}, got {self.class_weights}"
            yield Problem("class_weights", "bad_length", message)

    def compute(self, inputs: LossInputs, modules: nn.ModuleList) -> LossSum:
        """See ``Loss``."""
        import torch

        from bigfoot.distill.losses import LossSum
        from bigfoot.models.tasks.kinds.base import LossOptions
        from bigfoot.models.tasks.kinds.registry import find_kind
        from bigfoot.models.tasks.shape import TaskShape

        logits, targets = inputs.student.task_logits, inputs.task_targets
        assert logits is not None and targets is not None
        weights = torch.tensor(self.class_weights, device=logits.device) if self.class_weights else None
        options = LossOptions(weights, self.label_smoothing)
        kind = find_kind(TaskShape.read(inputs.shapes.student.task))
        losses = kind.losses(logits, targets, options)
        if inputs.student.task_mix is not None:
            # Partners are a permutation: over a batch, the shares of each target add up to 1.
            partner, share = inputs.student.task_mix
            losses = share * losses + (1 - share) * kind.losses(logits, targets[partner], options)
        return LossSum(losses.sum(), (~targets.isnan()).any(-1).sum())


@dataclass
class TaskKLLoss(Loss):
    """Divergence of the student's answer from the teacher's, mean over utterances, times T squared.

    Kullback-Leibler over classes; over yes or no of each label or threshold; of numbers the squared difference.
    """

    temperature: float = above_zero(1.0)
    """Softens both distributions, above 0."""

    unit: ClassVar[str] = "utterances"

    def check(self, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[Problem]:
        """See ``Loss``."""
        for whose, shape in (("student", student), ("teacher", teacher)):
            if shape.task is None:
                message = f"the {whose} has no task head to compare; train one first (step train_task)"
                yield Problem("", "no_task_head", message)
                return
        ours, theirs = ((shape.task or {}) for shape in (student, teacher))
        if any(ours.get(key) != theirs.get(key) for key in ("kind", "labels", "link")):
            message = f"the student answers {ours.get('kind')} {ours.get('labels')}, the teacher {theirs.get('kind')} "
            yield Problem("", "other_labels", f"{message}{theirs.get('labels')}")

    def find_targets(self, student: BigfootConfig, teacher: BigfootConfig) -> dict[str, set[int]]:
        """See ``Loss``."""
        return {"task_logits": {0}}

    def compute(self, inputs: LossInputs, modules: nn.ModuleList) -> LossSum:
        """See ``Loss``."""
        import torch

        from bigfoot.distill.losses import LossSum
        from bigfoot.models.tasks.kinds.registry import find_kind
        from bigfoot.models.tasks.shape import TaskShape

        ours, theirs = inputs.both("task_logits")
        kind = find_kind(TaskShape.read(inputs.shapes.student.task))
        losses = kind.divergences(ours, theirs, self.temperature)
        return LossSum(losses.sum(), torch.tensor(len(losses), device=losses.device))
