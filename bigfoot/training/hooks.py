"""Hooks: what takes part in a training besides its objective, without the loop knowing it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from bigfoot.models.ctc import BigfootForCTC


class TrainingHook:
    """Called by the loop at its turns; each method does nothing unless a hook overrides it.

    A hook keeps no state of its own between steps: what it needs to resume stands in the model, in the objective, or
    follows from the count of steps.

    Examples:
        >>> class LastOnly(TrainingHook):
        ...     def may_be_best(self, step: int, max_steps: int) -> bool:
        ...         return step == max_steps
        >>> LastOnly().may_be_best(3, 10)
        False
    """

    def parts(self) -> Mapping[str, nn.Module]:
        """Modules that get parameter groups of their own, by the names that ``learning_rate_factors`` uses."""
        return {}

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
            step: that was just taken, 1-based.
        """

    def may_be_best(self, step: int, max_steps: int) -> bool:
        """Whether the model after a step may be chosen as the best.

        Args:
            step: 1-based.
            max_steps: of the training.
        """
        return True

    def finish(self, model: BigfootForCTC) -> tuple[BigfootForCTC, list[str]]:
        """Bring the chosen model into its final form, once training is over.

        Args:
            model: the best one, as it was saved.

        Returns:
            The model that goes on, and what was done, a sentence each.
        """
        return model, []


class FrozenFeatureEncoder(TrainingHook):
    """Keeps the feature encoder as it is for the first steps.

    Args:
        num_steps: so many.
    """

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps

    def before_clip_(self, student: BigfootForCTC, step: int) -> None:
        """See ``TrainingHook``."""
        if step < self.num_steps:
            # Gradients are dropped rather than switched off, so that all devices still agree on who has one.
            for parameter in student.speech_encoder.feature_encoder.parameters():
                parameter.grad = None
