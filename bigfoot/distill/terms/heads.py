"""Teacher layers, each predicted from the student's last state by a head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from bigfoot.config.problems import Problem
from bigfoot.config.rules import above_zero, not_negative
from bigfoot.distill.loss import Loss, LossInputs, Shapes, Targets
from bigfoot.distill.matches import mean_problems, states_of

if TYPE_CHECKING:
    from torch import nn

    from bigfoot.distill.losses import LossSum
    from bigfoot.models.configuration import BigfootConfig


@dataclass
class HeadsLoss(Loss):
    """Heads on the student's last state that predict teacher layers (Chang et al., 2022), dropped after training.

    A head is linear, GELU, linear, the first as wide as the student, as in the paper's repository (s3prl's
    ``distiller``); the loss is the mean over heads.
    """

    layers: list[int] = field(default_factory=list)
    """Teacher states that are predicted, 1-based layers; empty takes those at every third of its depth."""
    l1_weight: float = not_negative(1.0)
    """Share of the mean absolute difference."""
    cosine_weight: float = not_negative(1.0)
    """Share of -log sigmoid(cosine similarity)."""
    mean_of: int = above_zero(1)
    """The target is the mean of so many teacher states, the named layer's the last of them."""

    outputs: ClassVar[tuple[str, ...]] = ("output_hidden_states",)

    def predicted_layers(self, depth: int) -> list[int]:
        """Return the layers that are predicted, 1-based.

        Args:
            depth: layers of the teacher.

        Examples:
            >>> HeadsLoss().predicted_layers(12)
            [4, 8, 12]
        """
        return list(self.layers) or sorted({max(1, round(depth * part / 3)) for part in (1, 2, 3)})

    def check(self, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[Problem]:
        """See ``Loss``."""
        depth = teacher.num_hidden_layers
        outside = [layer for layer in self.layers if not 1 <= layer <= depth]
        if outside:
            message = f"{outside} out of range: the teacher's layers go from 1 to {depth}"
            yield Problem("layers", "out_of_range", message)
        if len(set(self.layers)) < len(self.layers):
            yield Problem("layers", "repeated", f"{self.layers} names a layer twice")
        if not self.l1_weight and not self.cosine_weight:
            message = "l1_weight and cosine_weight are both 0, there is nothing to compare"
            yield Problem("", "nothing_to_compare", message)
        yield from mean_problems(self.predicted_layers(depth), self.mean_of)

    def find_targets(self, student: BigfootConfig, teacher: BigfootConfig) -> Targets:
        """See ``Loss``."""
        return {"hidden_states": states_of(self.predicted_layers(teacher.num_hidden_layers), self.mean_of)}

    def build_modules(self, shapes: Shapes) -> nn.ModuleList:
        """See ``Loss``."""
        from torch import nn

        student, teacher = shapes.both
        here, there = student.hidden_size, teacher.hidden_size
        count = len(self.predicted_layers(teacher.num_hidden_layers))
        heads = [nn.Sequential(nn.Linear(here, here), nn.GELU(), nn.Linear(here, there)) for _ in range(count)]
        return nn.ModuleList(heads)

    def compute(self, inputs: LossInputs, modules: nn.ModuleList) -> LossSum:
        """See ``Loss``."""
        from bigfoot.distill.losses import prediction_distance
        from bigfoot.distill.projections import add_up, mean_state

        _, there = inputs.both("hidden_states")
        layers = self.predicted_layers(inputs.shapes.both[1].num_hidden_layers)
        return add_up([
            prediction_distance(
                head(inputs.student.last_hidden_state), mean_state(there, layer, self.mean_of), inputs.frame_mask,
                self.l1_weight, self.cosine_weight,
            )
            for head, layer in zip(modules, layers, strict=True)
        ])  # fmt: skip
