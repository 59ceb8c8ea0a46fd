"""Hooks: callbacks of the training loop besides the objective."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext

from torch import nn
from torch.distributed.tensor import DTensor

from bigfoot.models.ctc import BigfootForCTC


class TrainingHook:
    """Callbacks that the loop calls; each method does nothing unless overridden.

    What a hook needs to resume is in the model, in the objective, or follows from the number of steps; one that keeps a
    state of its own has ``state_dict`` and ``load_state_dict``, and it is in the checkpoint.

    Examples:
        >>> class FromTheTenth(TrainingHook):
        ...     def may_be_best(self, step: int, max_steps: int) -> bool:
        ...         return step >= 10
        >>> FromTheTenth().may_be_best(3, 20)
        False
    """

    can_shard = False
    """Whether it works where every process has a part of each weight; see ``bigfoot.training.sharding``."""

    def parts(self) -> Mapping[str, nn.Module]:
        """Return modules with their own parameter groups, by the names that ``learning_rate_factors`` uses."""
        return {}

    def inner_parts(self) -> Mapping[str, nn.Module]:
        """Return the same of modules that are within the student's own parts, which they are taken out of."""
        return {}

    def before_step_(self, student: BigfootForCTC, step: int) -> None:
        """Change the student before the batches of a step are run.

        Args:
            student: changed in place.
            step: steps done so far.
        """

    def before_clip_(self, student: BigfootForCTC, step: int) -> None:
        """Change gradients before they are clipped.

        Args:
            student: with its gradients.
            step: steps done so far.
        """

    def after_step_(self, student: BigfootForCTC, step: int) -> None:
        """Change the student after an optimizer step.

        Args:
            student: changed in place.
            step: just completed, 1-based.
        """

    def may_be_best(self, step: int, max_steps: int) -> bool:
        """Return whether the model after a step may be selected as the best.

        Args:
            step: 1-based.
            max_steps: of the training.
        """
        return True

    def as_saved(self, student: BigfootForCTC) -> AbstractContextManager[None]:
        """Give the student the weights that are judged and saved, for the time of a ``with``; its own by default.

        Args:
            student: changed in place, and back.
        """
        return nullcontext()

    def finish(self, model: BigfootForCTC) -> tuple[BigfootForCTC, list[str]]:
        """Convert the selected model to its final form after training.

        Args:
            model: the best one, as saved.

        Returns:
            The final model, and the changes, one sentence each.
        """
        return model, []


def as_saved(hooks: Iterable[TrainingHook], student: BigfootForCTC) -> ExitStack:
    """Give a student the weights that hooks want judged and saved, until the stack is closed.

    Args:
        hooks: of a training.
        student: changed in place, and back.
    """
    stack = ExitStack()
    for hook in hooks:
        stack.enter_context(hook.as_saved(student))
    return stack


class LastOnly(TrainingHook):
    """Selects the last model, whatever dev says."""

    can_shard = True

    def may_be_best(self, step: int, max_steps: int) -> bool:
        """See ``TrainingHook``."""
        return step >= max_steps


class FrozenFeatureEncoder(TrainingHook):
    """Freezes the feature encoder for the first steps; nothing is computed for its gradient.

    Args:
        num_steps: number of frozen steps.
    """

    can_shard = True

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps

    def before_step_(self, student: BigfootForCTC, step: int) -> None:
        """See ``TrainingHook``."""
        for parameter in student.speech_encoder.feature_encoder.parameters() if self.num_steps else ():
            # Sharded weights are divided with what was known of their gradients.
            if not isinstance(parameter, DTensor):
                parameter.requires_grad_(step >= self.num_steps)

    def before_clip_(self, student: BigfootForCTC, step: int) -> None:
        """See ``TrainingHook``."""
        if step < self.num_steps:
            for parameter in student.speech_encoder.feature_encoder.parameters():
                parameter.grad = None
