"""Settings of the training of a supernet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bigfoot.compress.settings import IMPORTANCES, PRUNABLE
from bigfoot.config import Problem, above_zero, not_negative, one_of
from bigfoot.distill import LossesConfig, default_losses
from bigfoot.training.settings import TrainConfig

BITS = (8, 32)
"""Bits that weights of a subnet can have."""


def _all() -> list[float]:
    return [1.0]


@dataclass
class SupernetConfig(TrainConfig):
    """Distil one set of weights whose slices are students of many shapes; ``bigfoot pick`` then chooses among them."""

    depth: list[float] = field(default_factory=lambda: [0.5, 0.75, 1.0])
    """Shares of the layers that a subnet can have; they are spread over the depth, each choice within the next."""
    width: list[float] = field(default_factory=lambda: [0.5, 0.75, 1.0])
    """Shares of the frames' channels; [1.0] where the width cannot be cut (WavLM)."""
    heads: list[float] = field(default_factory=lambda: [0.5, 0.75, 1.0])
    """Shares of the attention heads, layer by layer."""
    feed_forward: list[float] = field(default_factory=lambda: [0.25, 0.5, 1.0])
    """Shares of the feed-forward units, layer by layer."""
    conv: list[float] = field(default_factory=lambda: [0.5, 0.75, 1.0])
    """Shares of the channels of each convolution."""
    conv_module: list[float] = field(default_factory=_all)
    """Of conformers: shares of the channels of the convolution in each layer."""
    bits: list[int] = field(default_factory=lambda: [32])
    """Bits of a subnet's weights: 32, or 8 as the precision ``int8`` of ``quantize`` stores them."""
    random_subnets: int = not_negative(1)
    """Subnets drawn for each batch, besides the largest and the smallest (the sandwich rule, Yu & Huang, 2019)."""
    subnets_learn_from: str = one_of("teacher", "largest")
    """Whose posteriors subnets are compared with: the ``teacher``'s, or those of the ``largest`` on the same batch
    (in-place distillation); the largest learns from the teacher in both."""
    importance: str = one_of(*IMPORTANCES, default="l2")
    """How units are judged before the training, when the best are put first, so that each subnet has those."""
    seconds: float = above_zero(60.0)
    """Training audio on which ``taylor`` and ``activation`` are measured."""
    select: str = one_of("last", "best")
    """Which weights are kept: those of the ``last`` step, or the ``best`` of the largest subnet on dev."""
    losses: LossesConfig = field(default_factory=default_losses)
    """What is compared, by name and weight; subnets learn by those of posteriors, transcripts and hidden states."""

    @property
    def shares(self) -> dict[str, Sequence[float]]:
        """Shares by part of ``PRUNABLE``."""
        return {part: getattr(self, part) for part in PRUNABLE}

    def find_problems(self) -> Iterator[Problem]:
        """Check constraints that no range of a single number covers."""
        yield from super().find_problems()
        for part in ("depth", *PRUNABLE):
            chosen = getattr(self, part)
            if not chosen or not all(_is_share(share) for share in chosen):
                yield Problem(part, "out_of_range", f"expected shares above 0 and up to 1, one at least, got {chosen}")
        if not self.bits or (unknown := [each for each in self.bits if each not in BITS]):
            named = ", ".join(map(str, BITS))
            yield Problem("bits", "unknown_word", f"expected some of {named}, got {self.bits or unknown}")


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1
