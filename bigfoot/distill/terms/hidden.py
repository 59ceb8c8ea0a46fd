"""The teacher's hidden states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from bigfoot.config.problems import Problem
from bigfoot.config.rules import above_zero, one_of
from bigfoot.distill.loss import DISTANCES, Loss, LossInputs, Shapes, Targets
from bigfoot.distill.matches import LayerMatch, build_matches, mean_problems, states_of
from bigfoot.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bigfoot.distill.losses import LossSum
    from bigfoot.models.configuration import BigfootConfig


@dataclass
class HiddenLoss(Loss):
    """Distance between hidden states of student and teacher, mean over real frames and channels.

    Where widths differ, a linear map for each match brings the student's states to the teacher's.
    """

    distance: str = one_of(*DISTANCES)
    """``mse``, ``l1``, ``cosine`` (1 - cosine similarity) or ``l1_cosine``, the sum of those two (DPHuBERT)."""
    matches: Any = "proportional"
    """``proportional``, or a list of [student, teacher] indices into ``hidden_states`` (0 = encoder input)."""
    match_weights: list[float] = field(default_factory=list)
    """One factor a match, whose losses are then added up (FitHuBERT: 0.1 each, the last 1); empty takes their mean."""
    mean_of: int = above_zero(1)
    """The target is the mean of so many teacher states, the match's the last of them (LightHuBERT: 8)."""

    outputs: ClassVar[tuple[str, ...]] = ("output_hidden_states",)

    def _match(self, student: BigfootConfig, teacher: BigfootConfig) -> list[LayerMatch]:
        return build_matches(self.matches, student.num_hidden_layers, teacher.num_hidden_layers)

    def check(self, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[Problem]:
        """See ``Loss``."""
        try:
            matches = self._match(student, teacher)
        except ModelError as error:
            yield Problem("matches", "bad_matches", str(error))
            return
        weights = self.match_weights
        if weights and len(weights) != len(matches):
            yield Problem("match_weights", "wrong_number", f"{len(weights)} numbers for {len(matches)} matches")
        if any(not weight >= 0 for weight in weights):
            yield Problem("match_weights", "out_of_range", f"must not be below 0, got {weights}")
        yield from mean_problems([match.teacher for match in matches], self.mean_of)

    def find_targets(self, student: BigfootConfig, teacher: BigfootConfig) -> Targets:
        """See ``Loss``."""
        return {"hidden_states": states_of([match.teacher for match in self._match(student, teacher)], self.mean_of)}

    def build_modules(self, shapes: Shapes) -> nn.ModuleList:
        """See ``Loss``."""
        from bigfoot.distill.projections import build_projections

        student, teacher = shapes.both
        return build_projections(len(self._match(student, teacher)), student.hidden_size, teacher.hidden_size)

    def project(self, inputs: LossInputs, modules: nn.ModuleList) -> list[Tensor]:
        """Bring the student's states to the teacher's width, one for each match."""
        assert inputs.student.hidden_states is not None
        states, matches = inputs.student.hidden_states, self._match(*inputs.shapes.both)
        return [module(states[match.student]) for match, module in zip(matches, modules, strict=True)]

    def compare(
        self, projected: Sequence[Tensor], states: Sequence[Tensor], inputs: LossInputs, frame_mask: Tensor
    ) -> LossSum:
        """Compute the distance from the teacher's states over some frames.

        Args:
            projected: the student's, one a match, (B, T, D) each.
            states: the teacher's, all of them.
            inputs: of the batch.
            frame_mask: (B, T), True = counted.
        """
        from bigfoot.distill.losses import frame_distance
        from bigfoot.distill.projections import add_up, mean_state

        pairs = zip(projected, self._match(*inputs.shapes.both), strict=True)
        return add_up([
            frame_distance(here, mean_state(states, match.teacher, self.mean_of), frame_mask, self.distance)
            for here, match in pairs
        ], self.match_weights)  # fmt: skip

    def compute(self, inputs: LossInputs, modules: nn.ModuleList) -> LossSum:
        """See ``Loss``."""
        _, there = inputs.both("hidden_states")
        return self.compare(self.project(inputs, modules), there, inputs, inputs.frame_mask)
