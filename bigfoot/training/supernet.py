"""Training of a supernet: for each batch the largest subnet, the smallest and some at random, on the same weights."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
from torch import Tensor

from bigfoot.compress.subnet import Space, Subnet
from bigfoot.compress.supernet import SubnetRunner
from bigfoot.data.augment import stable_seed
from bigfoot.data.batches import Batch
from bigfoot.distill.bridge import Bridge
from bigfoot.distill.cache import TeacherCache
from bigfoot.distill.loss import MASKED, Loss, LossInputs
from bigfoot.distill.losses import LossSum
from bigfoot.distill.objective import Objective, active_losses
from bigfoot.distill.registry import LossesConfig
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC, CTCOutput
from bigfoot.training.hooks import TrainingHook
from bigfoot.training.supernet_settings import SupernetConfig

SUBNETS = "subnets_"
"""What precedes the name of a loss in that of the subnets' term."""
_TARGETS, _OUTPUTS = {"logits", "hidden_states", MASKED}, {"output_hidden_states"}
_UNITS = ("frames", "labels", "utterances", "hypotheses", "aligned")


def subnet_losses(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> dict[str, Loss]:
    """Return the losses by which subnets learn: those that read posteriors or hidden states alone.

    Attention maps and convolutional features differ in size from subnet to subnet; only the largest learns by them.

    Args:
        losses: of the section, without problems.
        student: shape of the supernet.
        teacher: its shape.
    """
    return {name: loss for name, loss in active_losses(losses).items() if _fits(loss, student, teacher)}


def _fits(loss: Loss, student: BigfootConfig, teacher: BigfootConfig) -> bool:
    if loss.needs_decoder or loss.unit not in _UNITS or not set(loss.outputs) <= _OUTPUTS:
        return False
    return loss.find_targets(student, teacher).keys() <= _TARGETS


class SupernetObjective(Objective):
    """``Objective`` whose student is a supernet.

    For each batch the largest, the smallest and random subnets run (the sandwich rule: Yu & Huang, 2019, section 3.1),
    the teacher once. Each counts alike, and all together as much as one student in ``Objective``. Subnets follow from
    seed and batch alone, so a checkpoint holds everything needed to resume.

    Args:
        config: losses and draws.
        space: of the subnets.
        student: the supernet.
        teacher: see ``Objective``.
        seed: of the draws.
        bridge: see ``Objective``.
    """

    def __init__(
        self, config: SupernetConfig, space: Space, student: BigfootForCTC,
        teacher: BigfootForCTC | TeacherCache | None, seed: int, bridge: Bridge | None = None,
    ) -> None:  # fmt: skip
        super().__init__(config.losses, student, teacher, bridge)
        # A subnet has convolutions of its own.
        self._features = None
        self._config, self._space, self._seed = config, space, seed
        self._runner = SubnetRunner(student)
        shape = student.config if teacher is None else teacher.config
        self._shared = list(subnet_losses(config.losses, student.config, shape))
        self._num_others = int(space.smallest != space.largest) + config.random_subnets
        everyone = 1 + self._num_others
        others = {f"{SUBNETS}{name}": self.weights[name] * self._num_others / everyone for name in self._shared}
        shared = {name: weight / everyone for name, weight in self.weights.items() if name in self._shared}
        self.weights = self.weights | shared | (others if self._num_others else {})

    def draw_subnets(self, batch: Batch) -> list[Subnet]:
        """Return the subnets of a batch besides the largest.

        Args:
            batch: of the stream.
        """
        generator = np.random.default_rng(stable_seed(self._seed, "supernet", batch.position, *batch.ids))
        drawn = [self._space.draw(generator) for _ in range(self._config.random_subnets)]
        smallest, largest = self._space.smallest, self._space.largest
        return [*([smallest] if smallest != largest else []), *drawn]

    def count_units(self, batch: Batch) -> dict[str, int]:
        """See ``Objective``; the subnets' terms are means over the same."""
        counts = super().count_units(batch)
        return counts | {f"{SUBNETS}{name}": counts[name] for name in self._shared if self._num_others}

    def forward(self, batch: Batch, masks: dict[str, Tensor]) -> dict[str, LossSum]:
        """See ``Objective``."""
        given = self.find_arguments(batch, masks)
        largest = self._run(self._space.largest, batch, given)
        inputs = self.ask_teacher(largest, batch, masks)
        terms = self.compare(inputs)
        found: dict[str, list[LossSum]] = {}
        for subnet in self.draw_subnets(batch):
            output = self._run(subnet, batch, given)
            for name, term in self.compare(self._as_pupil(inputs, output), self._shared).items():
                found.setdefault(f"{SUBNETS}{name}", []).append(term)
        means = {name: LossSum(_mean([each.total for each in sums]), sums[0].count) for name, sums in found.items()}
        return terms | means

    def _run(self, subnet: Subnet, batch: Batch, given: dict[str, object]) -> CTCOutput:
        if subnet == self._space.largest and subnet.bits == 32:
            whole: CTCOutput = self.student(batch.input_values, batch.attention_mask, **given)
            return whole
        output = self._runner.run(subnet, batch.input_values, batch.attention_mask, **given)
        return self._runner.as_supernet(output, subnet)

    def _as_pupil(self, inputs: LossInputs, output: CTCOutput) -> LossInputs:
        """Put a subnet in the place of the largest, and that in the teacher's where it is to learn from it."""
        teacher = inputs.teacher
        if self._config.subnets_learn_from == "largest" and teacher is not None and inputs.student.logits is not None:
            teacher = CTCOutput(**{**teacher, "logits": inputs.student.logits.detach()})
        return replace(inputs, student=output, teacher=teacher)


def _mean(totals: Collection[Tensor]) -> Tensor:
    first, *others = totals
    return sum(others, first) / len(totals)


class WholeWeights(TrainingHook):
    """States that slices need whole weights in every process: they cannot be sharded."""
