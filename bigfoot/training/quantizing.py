"""Settings of quantization-aware training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bigfoot.compress.packing_settings import Packing
from bigfoot.compress.settings import percentile_problem
from bigfoot.config import Problem, above_zero, one_of
from bigfoot.distill import LossesConfig, default_losses
from bigfoot.training.settings import TrainConfig


@dataclass
class QatConfig(Packing, TrainConfig):
    """Train the last model with the rounding that its file will have (docs/how-to/quantize-aware.md); comes last."""

    precision: str = one_of("packed", "int8_static")
    """``packed``: weights of 4, 2 or 8 bits, layer by layer. ``int8_static``: weights and what goes into layers in
    eight bits, as in an exported int8 file; ``bits`` and ``group_size`` are not read."""
    teacher: str = one_of("self", "teacher")
    """Who teaches: the model itself as it was in fp32 (``self``), or the run's teacher."""
    losses: LossesConfig = field(default_factory=default_losses)
    """What is compared, by name and weight."""
    max_steps: int = above_zero(300)
    """Optimizer steps."""
    learning_rate: float = above_zero(1e-4)
    """Highest learning rate of the weights."""
    step_learning_rate: float = above_zero(1e-3)
    """Highest learning rate of the quantization steps, which are learned as shares of their first value."""
    warmup_steps: int = 20
    """Steps of linear rise at the start."""
    percentile: float = 100.0
    """``int8_static``: of the numbers that go into a layer, how many its first range holds, in %, above 50."""

    def find_problems(self) -> Iterator[Problem]:
        """Check constraints that no range of a single number covers."""
        yield from TrainConfig.find_problems(self)
        if self.precision == "packed":
            yield from Packing.find_problems(self)
            if self.percentile != 100:
                yield Problem("percentile", "not_read", "cuts the ranges of int8_static; packed weights have none")
        else:
            yield from filter(None, [percentile_problem(self.percentile)])
            if self.max_size is not None:
                yield Problem("max_size", "not_read", "int8_static has eight bits everywhere; use precision packed")
        if self.ema_decay:
            message = "integers are not averaged; leave it at 0, or average in the step before"
            yield Problem("ema_decay", "not_read", message)
