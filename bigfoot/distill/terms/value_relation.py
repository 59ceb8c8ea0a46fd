"""How alike frames are in the values of the teacher's attention."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bigfoot.config.problems import Problem
from bigfoot.config.rules import above_zero
from bigfoot.distill.loss import Loss, LossInputs, Targets
from bigfoot.distill.matches import LayerMatch
from bigfoot.distill.terms.layers import match_layers, match_problems

if TYPE_CHECKING:
    from torch import nn

    from bigfoot.distill.losses import LossSum
    from bigfoot.models.configuration import BigfootConfig


@dataclass
class ValueRelationLoss(Loss):
    """Divergence between how alike the values of attention are, frame by frame (Wang et al., 2020)."""

    heads: int | None = above_zero(None)
    """The values of a layer are cut into so many parts (Wang et al., 2021); null: its attention heads, which must be as
    many in both models."""
    matches: Any = "proportional"
    """``proportional``, or a list of [student, teacher] layers, 0-based."""

    outputs: ClassVar[tuple[str, ...]] = ("output_attention_values",)

    def check(self, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[Problem]:
        """See ``Loss``."""
        found = list(match_problems(self.matches, student, teacher))
        if student.time_reduction != teacher.time_reduction:
            message = "the models' attention has not the same frames (time_reduction)"
            found.append(Problem("", "other_frames", message))
        yield from found
        for match in [] if found else match_layers(self.matches, student, teacher):
            yield from self._check_heads(match, student, teacher)

    def _check_heads(self, match: LayerMatch, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[Problem]:
        here, there = student.heads_of_layers[match.student], teacher.heads_of_layers[match.teacher]
        widths = here * student.head_dim, there * teacher.head_dim
        layers = f"layer {match.student} of the student", f"layer {match.teacher} of the teacher"
        if not here or not there:
            message = f"[{match.student}, {match.teacher}] names a layer without attention"
            yield Problem("matches", "no_attention", message)
        elif self.heads is None and here != there:
            message = f"{layers[0]} has {here} heads, {layers[1]} {there}"
            message = f"{message}; set it to a number that divides the widths of their values, {widths}"
            yield Problem("heads", "heads_differ", message)
        elif self.heads is not None and any(width % self.heads for width in widths):
            message = f"{self.heads} does not divide both widths of values, {widths}, of {layers[0]} and {layers[1]}"
            yield Problem("heads", "does_not_divide", message)

    def find_targets(self, student: BigfootConfig, teacher: BigfootConfig) -> Targets:
        """See ``Loss``."""
        return {"attention_values": {match.teacher for match in match_layers(self.matches, student, teacher)}}

    def compute(self, inputs: LossInputs, modules: nn.ModuleList) -> LossSum:
        """See ``Loss``."""
        from bigfoot.distill.losses import value_relation_kl
        from bigfoot.distill.projections import add_up

        here, there = inputs.both("attention_values")
        own = inputs.shapes.student.heads_of_layers
        return add_up([
            value_relation_kl(
                here[match.student], there[match.teacher], inputs.frame_mask, self.heads or own[match.student]
            )
            for match in match_layers(self.matches, *inputs.shapes.both)
        ])  # fmt: skip
