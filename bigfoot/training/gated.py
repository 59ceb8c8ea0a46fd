"""Distillation of a student that learns, meanwhile, which of its units it can do without."""

from __future__ import annotations

from torch import Tensor

from bigfoot.compress.gates import Gates
from bigfoot.data.augment import stable_seed
from bigfoot.data.batches import Batch
from bigfoot.distill.cache import TeacherCache
from bigfoot.distill.losses import LossSum
from bigfoot.distill.objective import Objective
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.training.distilling import GatesConfig

SPARSITY = "sparsity"
"""Name of the term that holds the expected sparsity to its target."""


class GatedObjective(Objective):
    """``Objective`` with hard-concrete gates on the student and a term for its size.

    Gates and multipliers are parameters of this module, and the draws follow from seed and batch alone: a checkpoint
    holds all there is to go on from.

    Args:
        config: losses, parts and target.
        student: gets the gates.
        teacher: frozen here, or a cache of its answers; None where no term compares with one.
        seed: of the draws.
    """

    def __init__(
        self, config: GatesConfig, student: BigfootForCTC, teacher: BigfootForCTC | TeacherCache | None, seed: int
    ) -> None:
        super().__init__(config.losses, student, teacher)
        self.gates, self._config, self._seed = Gates(student, config.parts), config, seed
        self.weights = self.weights | {SPARSITY: 1.0}

    def count_units(self, batch: Batch) -> dict[str, int]:
        """See ``Objective``; the term of size is a mean over batches."""
        return super().count_units(batch) | {SPARSITY: 1}

    def forward(self, batch: Batch, masks: dict[str, Tensor]) -> dict[str, LossSum]:
        """See ``Objective``."""
        self.gates.draw(stable_seed(self._seed, "gates", batch.position, *batch.ids))
        try:
            terms = super().forward(batch, masks)
        finally:
            self.gates.forget()
        penalty = self.gates.penalty(self._config.sparsity, self._config.sparsity_warmup_steps)
        return terms | {SPARSITY: LossSum(penalty, penalty.new_ones(()))}

    def advance_(self) -> None:
        """See ``Objective``."""
        super().advance_()
        self.gates.steps_done += 1

    def describe(self) -> str:
        """What the gates leave, what they were expected to, and what was asked for, in a sentence."""
        size = self.gates.measure_size()
        gone, expected = (1 - number / size.before for number in (size.after, size.expected))
        shut = ", ".join(str(place) for place in self.gates.removed_blocks())
        blocks = f"; without {shut}" if shut else ""
        return (
            f"gates: kept {size.after:,} of {size.before:,} parameters, {gone:.1%} fewer ({expected:.1%} by the gates' "
            f"expectation, {self._config.sparsity:.1%} asked for){blocks}."
        )

    def deployed(self) -> BigfootForCTC:
        """The student without what its gates leave out."""
        return self.gates.cut(self.student)
