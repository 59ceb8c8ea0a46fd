"""How alike frames are in what goes into the teacher's layers and comes out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bigfoot.config.problems import Problem
from bigfoot.config.rules import not_negative
from bigfoot.distill.loss import Loss, LossInputs, Targets
from bigfoot.distill.terms.layers import match_layers, match_problems

if TYPE_CHECKING:
    from torch import nn

    from bigfoot.distill.losses import LossSum
    from bigfoot.models.configuration import BigfootConfig


@dataclass
class GramLoss(Loss):
    """Distance between temporal Gram matrices, how alike any two frames are (Jang et al., 2024)."""

    layer_weight: float = not_negative(1.0)
    """Share of the products of a layer's output with itself."""
    within_weight: float = not_negative(1.0)
    """Share of the products of a layer's input with its output."""
    matches: Any = "proportional"
    """``proportional``, or a list of [student, teacher] layers, 0-based."""

    outputs: ClassVar[tuple[str, ...]] = ("output_hidden_states",)

    def check(self, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[Problem]:
        """See ``Loss``."""
        yield from match_problems(self.matches, student, teacher)
        if not self.layer_weight and not self.within_weight:
            message = "layer_weight and within_weight are both 0, there is nothing to compare"
            yield Problem("", "nothing_to_compare", message)

    def find_targets(self, student: BigfootConfig, teacher: BigfootConfig) -> Targets:
        """See ``Loss``."""
        layers = [match.teacher for match in match_layers(self.matches, student, teacher)]
        inputs = layers if self.within_weight else []
        return {"hidden_states": {layer + 1 for layer in layers} | set(inputs)}

    def compute(self, inputs: LossInputs, modules: nn.ModuleList) -> LossSum:
        """See ``Loss``."""
        from bigfoot.distill.losses import gram_distance
        from bigfoot.distill.projections import add_up

        both, matches = inputs.both("hidden_states"), match_layers(self.matches, *inputs.shapes.both)
        sums, weights = [], []
        for match in matches:
            here, there = ((states[at], states[at + 1]) for states, at in zip(both, match.both, strict=True))
            if self.layer_weight:
                sums.append(gram_distance((here[1], here[1]), (there[1], there[1]), inputs.frame_mask))
                weights.append(self.layer_weight / len(matches))
            if self.within_weight:
                sums.append(gram_distance(here, there, inputs.frame_mask))
                weights.append(self.within_weight / len(matches))
        return add_up(sums, weights)
