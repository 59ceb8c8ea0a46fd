"""The interface of a kind of task: what the output layer is, and what it is trained on.

Targets are (B, W) float32 in every kind, NaN where an utterance has no label: the class or the rating as a number
(W = 1), 0 or 1 for each label, or the numbers of a regression.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from bigfoot.models.tasks.shape import TaskShape


@dataclass(frozen=True)
class LossOptions:
    """Settings of the loss.

    Args:
        class_weights: (K,) weights of the classes, or of the positive examples of each label; None for 1.
        label_smoothing: share of a target that is spread over all classes.
    """

    class_weights: Tensor | None = None
    label_smoothing: float = 0.0


class TaskKind:
    """A kind of task.

    Args:
        shape: of the head.
    """

    def __init__(self, shape: TaskShape) -> None:
        self.shape = shape

    @property
    def num_outputs(self) -> int:
        """Number of logits of an utterance."""
        return self.shape.num_labels

    @property
    def target_width(self) -> int:
        """W, numbers of a target."""
        return 1

    def build_output(self, width: int) -> nn.Module:
        """Build the layer from (B, ``width``) to (B, ``num_outputs``)."""
        return nn.Linear(width, self.num_outputs)

    def losses(self, logits: Tensor, targets: Tensor, options: LossOptions) -> Tensor:
        """Compute the loss of each utterance.

        Args:
            logits: (B, K).
            targets: (B, W), without NaN where the kind needs the whole target.
            options: see ``LossOptions``.

        Returns:
            (B,), 0 for utterances without a label.
        """
        raise NotImplementedError

    def divergences(self, logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Compute how far each utterance is from the teacher's answer.

        Args:
            logits: (B, K).
            teacher: (B, K), the teacher's logits.
            temperature: softens both distributions.

        Returns:
            (B,), Kullback-Leibler divergences in nats times the temperature squared.
        """
        return binary_divergence(logits / temperature, teacher / temperature).mean(-1) * temperature**2


def binary_divergence(logits: Tensor, teacher: Tensor) -> Tensor:
    """Compute the Kullback-Leibler divergence of yes or no from the teacher's, element by element.

    Args:
        logits: of any shape.
        teacher: likewise.

    Examples:
        >>> import torch
        >>> binary_divergence(torch.tensor([1.0]), torch.tensor([1.0])).tolist()
        [0.0]
    """
    log_yes, log_no = nn.functional.logsigmoid(teacher), nn.functional.logsigmoid(-teacher)
    yes = log_yes - nn.functional.logsigmoid(logits)
    no = log_no - nn.functional.logsigmoid(-logits)
    return log_yes.exp() * yes + log_no.exp() * no


def smooth_binary(targets: Tensor, smoothing: float) -> Tensor:
    """Move targets of 0 and 1 towards one half.

    Examples:
        >>> import torch
        >>> smooth_binary(torch.tensor([0.0, 1.0]), 0.5).tolist()
        [0.25, 0.75]
    """
    return targets * (1 - smoothing) + smoothing / 2


def known(targets: Tensor) -> Tensor:
    """(B,) True where the whole target is known."""
    return ~targets.isnan().any(-1)
