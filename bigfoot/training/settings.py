"""Settings of training, whatever the loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bigfoot.config import Problem, above_zero, not_negative, one_of, share, unknown_words
from bigfoot.data.settings import SpecAugmentConfig

_PARTS = ("feature_encoder", "feature_projection", "encoder", "lm_head", "decoder", "task_head", "projections",
          "adapters", "prompts")  # fmt: skip


PRECISIONS = ("auto", "no", "bf16", "fp16")
"""Precisions of training; ``auto`` is bf16 on a GPU that supports it, fp32 elsewhere."""


@dataclass
class TrainConfig:
    """How a model is trained, whatever the loss."""

    max_steps: int = above_zero(1000)
    """Optimizer steps."""
    learning_rate: float = above_zero(5e-4)
    """Highest learning rate."""
    learning_rate_factors: dict[str, float] = field(default_factory=dict)
    """Multiplies it for a part: ``feature_encoder``, ``feature_projection``, ``encoder``, ``lm_head``,
    ``decoder``, ``task_head`` or ``projections``; of a task, ``adapters`` and ``prompts``."""
    schedule: str = one_of("linear", "cosine", "constant", "plateau")
    """After the warm-up: ``linear`` or ``cosine`` decay to 0, ``constant``, or ``plateau``, which lowers the rate
    whenever dev stops improving."""
    plateau_patience: int = above_zero(2)
    """``plateau``: evaluations on dev in a row without a better one after which the rate is lowered."""
    plateau_factor: float = share(0.5)
    """``plateau``: what the rate is multiplied by."""
    warmup_steps: int = not_negative(100)
    """Steps of linear rise at the start."""
    hold_steps: int = not_negative(0)
    """``linear`` and ``cosine``: steps at the highest rate after that, before the decay."""
    weight_decay: float = not_negative(0.01)
    """AdamW's, on matrices; never on biases and norms."""
    adam_betas: list[float] = field(default_factory=lambda: [0.9, 0.98])
    """AdamW's averaging constants."""
    ema_decay: float = share(0.0)
    """An exponential average of the weights is judged on dev and saved in their place; this share of it stays at each
    step, such as 0.999. 0 for the weights themselves."""
    max_grad_norm: float = above_zero(1.0)
    """Gradients are scaled down to this norm."""
    gradient_accumulation_steps: int = above_zero(1)
    """Batches to an optimizer step; the loss is the mean over all their frames or labels."""
    checkpoint_every: int = above_zero(200)
    """Steps between checkpoints from which a killed run resumes."""
    eval_every: int = above_zero(200)
    """Steps between evaluations on dev: greedy WER and blank rate."""
    select: str = one_of("best", "last")
    """Which model is kept: the ``best`` on dev, or the ``last``, such as where dev WER is still near 100 % and tells
    little."""
    patience: int = not_negative(0)
    """Evaluations on dev in a row without a better one after which training stops; 0 for never."""
    layer_decay: float = share(1.0)
    """Multiplies the learning rate of each encoder layer once for every layer above it, and that of all below the
    layers once more."""
    log_every: int = above_zero(10)
    """Steps between lines of the loss."""
    max_bad_steps: int = not_negative(3)
    """Most batches with a non-finite loss, which are skipped and saved; one more stops the run, and so do more
    exploding losses in a row."""
    spec_augment: SpecAugmentConfig = field(default_factory=SpecAugmentConfig)
    """Masks on the student's input."""
    checkpoint_activations: bool = False
    """Keep only what goes into each layer, and compute the rest again in the backward pass: a fraction of the memory
    for about a third more time, and the same gradients."""
    compile: str = one_of("auto", "off", "on")
    """Compile the transformer layers of student and teacher by ``torch.compile``. ``auto`` does so on a GPU in long
    trainings, and goes on without where the compiler fails; ``on`` everywhere, or stops."""

    def part_names(self) -> tuple[str, ...]:
        """Return the parts that ``learning_rate_factors`` may name."""
        return _PARTS

    def find_problems(self) -> Iterator[Problem]:
        """Check constraints that no range of a single number covers."""
        yield from unknown_words("learning_rate_factors", "part", list(self.learning_rate_factors), self.part_names())
        if len(self.adam_betas) != 2:
            yield Problem("adam_betas", "bad_length", f"expected two numbers, got {self.adam_betas}")
        if self.patience and self.select == "last":
            message = "patience ends a training before its last step; select the best, or set patience to 0"
            yield Problem("select", "not_with_patience", message)
