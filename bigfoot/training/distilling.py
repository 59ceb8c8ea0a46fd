"""Settings of knowledge distillation, without and with gates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bigfoot.config import Problem, above_zero, not_negative, one_of, share, unknown_words
from bigfoot.distill import LossesConfig, default_losses
from bigfoot.training.settings import TrainConfig

GATED = ("heads", "feed_forward", "conv_module", "conv", "blocks")
"""What gates can be put on."""


@dataclass
class DistillConfig(TrainConfig):
    """Train the student to match the teacher's outputs."""

    losses: LossesConfig = field(default_factory=default_losses)
    """What is compared, by name and weight."""
    grow_groups: list[int] = field(default_factory=list)
    """[from, until]: convolutions start dense, and the weights outside the blocks of ``student.conv_groups`` fade to
    0 between these two steps. Empty: grouped from the start."""
    freeze_feature_encoder_steps: int = not_negative(0)
    """Steps in which the feature encoder is frozen; as long as it is the teacher's, both take one pass through it."""
    cache: str | None = None
    """Folder where the teacher's outputs are cached and read in every step, also in ``gates``; another run with the
    same teacher and data reads them too. Not with waveform augmentation."""
    cache_dtype: str = one_of("fp16", "int8")
    """How hidden states are stored there: ``fp16``, or ``int8`` with a scale for every channel of an utterance."""
    cache_top_k: int = not_negative(0)
    """Number of logits stored per frame; the other tokens share the remaining probability evenly; 0 stores all."""

    def find_problems(self) -> Iterator[Problem]:
        """Check constraints that no range of a single number covers."""
        yield from super().find_problems()
        growth, last = self.grow_groups, self.max_steps
        if growth and (len(growth) != 2 or not 0 <= growth[0] < growth[1] <= last):
            yield Problem(
                "grow_groups", "bad_bounds",
                f"expected [from, until] with until after from, up to max_steps {last}, got {growth}",
            )  # fmt: skip


@dataclass
class GatesConfig(TrainConfig):
    """Distil while the student learns by gates which units it can do without (Peng et al., 2023), then cut those."""

    learning_rate: float = above_zero(2e-4)
    """Highest learning rate of the weights."""
    gate_learning_rate: float = above_zero(0.02)
    """Highest learning rate of gates and multipliers."""
    parts: list[str] = field(default_factory=lambda: ["heads", "feed_forward", "conv"])
    """On what gates stand: ``heads``, ``feed_forward`` units, ``conv`` channels (but for the last convolution's), and
    whole attention and feed-forward ``blocks``."""
    sparsity: float = share(0.5)
    """Share of the model's parameters that is to go."""
    sparsity_warmup_steps: int = not_negative(100)
    """Steps in which that share rises from 0."""
    losses: LossesConfig = field(default_factory=default_losses)
    """What is compared, by name and weight."""

    def find_problems(self) -> Iterator[Problem]:
        """Check constraints that no range of a single number covers."""
        yield from super().find_problems()
        yield from unknown_words("parts", "part", self.parts, GATED)
        if not self.parts:
            yield Problem("parts", "empty", f"empty, so there are no gates; parts are {', '.join(GATED)}")
