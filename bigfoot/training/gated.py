"""Distillation of a student that learns at the same time which units to prune."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from bigfoot.compress.gates import Gates
from bigfoot.data.augment import stable_seed
from bigfoot.data.batches import Batch
from bigfoot.distill.bridge import Bridge
from bigfoot.distill.cache import TeacherCache
from bigfoot.distill.losses import LossSum
from bigfoot.distill.objective import Objective
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.running import recomputes
from bigfoot.training.distilling import GatesConfig
from bigfoot.training.hooks import TrainingHook

SPARSITY = "sparsity"
"""Name of the term that holds the expected sparsity to its target."""


class GatedObjective(Objective):
    """``Objective`` with hard-concrete gates on the student and a term for its size.

    Gates and multipliers are parameters of this module, and the samples depend on seed and batch alone, so a checkpoint
    holds everything needed to resume.

    Args:
        config: losses, parts and target.
        student: the gates are attached to it.
        teacher: frozen here, or a cache of its outputs; None if no loss term needs one.
        seed: of the gates' samples.
        bridge: see ``Objective``.
    """

    def __init__(
        self, config: GatesConfig, student: BigfootForCTC, teacher: BigfootForCTC | TeacherCache | None, seed: int,
        bridge: Bridge | None = None,
    ) -> None:  # fmt: skip
        super().__init__(config.losses, student, teacher, bridge)
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
            # Layers that run again in the backward pass need the same gates there.
            if not recomputes(self.student):
                self.gates.forget()
        penalty = self.gates.penalty(self._config.sparsity, self._config.sparsity_warmup_steps)
        return terms | {SPARSITY: LossSum(penalty, penalty.new_ones(()))}

    def advance_(self) -> None:
        """See ``Objective``."""
        super().advance_()
        self.gates.forget()
        self.gates.steps_done += 1

    def describe(self) -> str:
        """Describe the actual, the expected and the target sparsity in a sentence."""
        size = self.gates.measure_size()
        gone, expected = (1 - number / size.before for number in (size.after, size.expected))
        shut = ", ".join(str(place) for place in self.gates.removed_blocks())
        blocks = f"; without {shut}" if shut else ""
        return (
            f"gates: kept {size.after:,} of {size.before:,} parameters, {gone:.1%} fewer ({expected:.1%} by the gates' "
            f"expectation, {self._config.sparsity:.1%} asked for){blocks}."
            f"{self._why_open() if size.after == size.before and self._config.sparsity else ''}"
        )

    def _why_open(self) -> str:
        """Explain why every gate is still open: it starts far open, and a step moves it by about its learning rate."""
        config, steps = self._config, int(self.gates.steps_done)
        risen = min(1.0, steps / config.sparsity_warmup_steps) if config.sparsity_warmup_steps else 1.0
        return (
            f" Nothing was pruned: in {steps} steps at gates.gate_learning_rate {config.gate_learning_rate:g} no gate "
            f"came near to closing, and the target had risen to {risen:.0%} of gates.sparsity "
            f"(gates.sparsity_warmup_steps {config.sparsity_warmup_steps}). Try more gates.max_steps, a higher "
            "gates.gate_learning_rate, or fewer gates.sparsity_warmup_steps"
        )

    def deployed(self) -> BigfootForCTC:
        """Return the student pruned by its gates."""
        return self.gates.cut(self.student)


class GatesHook(TrainingHook):
    """Gives gates their own learning rate, and selects the last model: earlier ones are less sparse.

    Args:
        objective: whose gates they are.
    """

    def __init__(self, objective: GatedObjective) -> None:
        self._objective = objective

    def parts(self) -> Mapping[str, nn.Module]:
        """See ``TrainingHook``."""
        return {"gates": self._objective.gates}

    def may_be_best(self, step: int, max_steps: int) -> bool:
        """See ``TrainingHook``."""
        return step >= max_steps

    def finish(self, model: BigfootForCTC) -> tuple[BigfootForCTC, list[str]]:
        """Describe what the gates kept; the model was saved pruned."""
        return model, [self._objective.describe()]
