"""Quantized weights and inputs in training: rounded forward, with the gradients of learned steps backward.

Learned step size quantization (Esser et al., 2020, arXiv 1902.08153). What a layer computes with in training is what
its folder and its exported file hold: the same integers, the same steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bigfoot.models.fake_int8 import LEVELS, FakeInt8, static_scale
from bigfoot.models.packed import (
    as_matrix,
    code_range,
    from_matrix,
    quantize_groups,
    round_steps,
    spread_steps,
)
from bigfoot.models.small_weights import quantize_weight, spread

_CANDIDATES = 24


class _Replace(torch.autograd.Function):
    """A value forward, the gradient of another backward: the straight-through estimator."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, value: Tensor) -> Tensor:  # noqa: ANN401 - autograd's
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]  # noqa: ANN401
        return gradient, None


def straight_through(given: Tensor, value: Tensor) -> Tensor:
    """Return ``value``, whose gradient is passed to ``given`` as it is.

    Args:
        given: what is learned.
        value: what it is rounded to.
    """
    return cast("Tensor", _Replace.apply(given, value.detach()))


class _ScaleGradient(torch.autograd.Function):
    """The same value, and a multiple of its gradient."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, factor: float) -> Tensor:  # noqa: ANN401 - autograd's
        ctx.factor = factor
        return given.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]  # noqa: ANN401
        return gradient * ctx.factor, None


def learned_rounding(x: Tensor, steps: Tensor, low: int, high: int) -> Tensor:
    """Round to multiples of steps (LSQ, equations 1 to 3, and 5 for what is outside).

    Args:
        x: any shape.
        steps: above 0, of a shape that broadcasts with it.
        low: integer, at most 0.
        high: integer, above 0.

    Returns:
        As ``x``. Its gradient is 1 within the range and 0 outside; that of a step is ``round(x/s) - x/s`` within, and
        ``low`` or ``high`` outside.

    Examples:
        >>> learned_rounding(torch.tensor([0.4, 1.2, 9.0]), torch.tensor(0.5), -8, 7).tolist()
        [0.5, 1.0, 3.5]
    """
    scaled = (x / steps).clamp(low, high)
    return straight_through(scaled, scaled.round()) * steps


class PackedWeight(nn.Module):
    """Parametrization of a weight by integers of four or two bits, a learned step for each group.

    Args:
        weight: as it is.
        bits: of an integer.
        group_size: numbers that share a step.
    """

    start: Tensor

    def __init__(self, weight: Tensor, bits: int, group_size: int) -> None:
        super().__init__()
        self.bits = bits
        self.register_buffer("start", fit_steps(as_matrix(weight.detach().float()), bits, group_size))
        # A vector, which no weight decay is for, of shares of the first step, which Adam moves by a share a step.
        self.shares = nn.Parameter(torch.ones(self.start.numel(), device=weight.device))
        # LSQ, section 2.2: so that a step moves by about as large a share of itself as weights do.
        self.gradient_scale = (group_size * code_range(bits)[1]) ** -0.5

    def stored_steps(self) -> Tensor:
        """Return the steps as they are stored, (out, groups)."""
        return round_steps(self.shares.detach().view(self.start.shape) * self.start)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the rounded weight."""
        shares = cast("Tensor", _ScaleGradient.apply(self.shares, self.gradient_scale))
        steps = shares.view(self.start.shape) * self.start
        steps = straight_through(steps, round_steps(steps))
        matrix = as_matrix(weight.float())
        rounded = learned_rounding(matrix, spread_steps(steps, matrix.shape[1]), *code_range(self.bits))
        return from_matrix(rounded, weight.shape).to(weight.dtype)


class Int8Weight(nn.Module):
    """Parametrization of a weight by eight-bit integers, one scale a channel, as every int8 file has them.

    Args:
        axes: of the output channels; see ``quantize_weight``.
    """

    def __init__(self, axes: Sequence[int] = (0,)) -> None:
        super().__init__()
        self.axes = tuple(axes)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the rounded weight; its gradient is the weight's."""
        integers, scales = quantize_weight(weight, self.axes)
        rounded = integers.float() * spread(scales, weight.shape, self.axes)
        return straight_through(weight, rounded.to(weight.dtype))


class Int8Input(nn.Module):
    """Rounding of what goes into a layer to eight bits, with a learned step and a fixed byte for zero.

    Args:
        low: lowest number measured, at most 0.
        high: highest number measured, at least 0.
        fine: to two bytes, with a fixed step; see ``bigfoot.models.fake_int8``.

    Examples:
        >>> Int8Input(0.0, 255.0)(torch.tensor([0.4, 7.6, 300.0])).tolist()
        [0.0, 8.0, 255.0]
    """

    start: Tensor

    def __init__(self, low: float, high: float, *, fine: bool = False) -> None:
        super().__init__()
        step, self.offset = static_scale(low, high)
        self.fine = fine
        self.register_buffer("start", torch.tensor([step]))
        self.shares = nn.Parameter(torch.ones(1), requires_grad=not fine)

    def ends(self) -> tuple[float, float]:
        """Return the range of the learned step, exact in double precision."""
        step = float((self.shares.detach() * self.start).abs())
        return -self.offset * step, (LEVELS - self.offset) * step

    def forward(self, x: Tensor) -> Tensor:
        """Return the rounded input."""
        if self.fine:
            return self._finely(x)
        scale = (x.numel() * (LEVELS - self.offset or LEVELS)) ** -0.5
        step = (cast("Tensor", _ScaleGradient.apply(self.shares, scale)) * self.start).abs()
        return learned_rounding(x, step.to(x.dtype), -self.offset, LEVELS - self.offset)

    def _finely(self, x: Tensor) -> Tensor:
        """Two bytes are nearly exact: rounded as the file rounds, and straight through."""
        return straight_through(x, FakeInt8(self.ends(), fine=True)(None, (x.detach(),))[0])


@torch.no_grad()
def fit_steps(matrix: Tensor, bits: int, group_size: int) -> Tensor:
    """Find the step of each group with the least squared error of the rounded numbers.

    Args:
        matrix: (out, in), with rows a multiple of ``group_size`` long.
        bits: of an integer.
        group_size: numbers that share a step.

    Returns:
        Steps as they are stored, (out, groups): the best of 24 shares of the largest number's, and of LSQ's start,
        ``2 mean(|w|) / sqrt(high)``.

    Examples:
        >>> fit_steps(torch.tensor([[0.5, -1.0] * 8]), bits=2, group_size=16).tolist()
        [[0.5]]
    """
    low, high = code_range(bits)
    groups = matrix.view(matrix.shape[0], -1, group_size)
    largest = groups.abs().amax(-1)
    starts = [largest / -low * share for share in torch.linspace(0.3, 1.2, _CANDIDATES).tolist()]
    starts += [largest / -low, 2 * groups.abs().mean(-1) / high**0.5]
    best, least = round_steps(starts[0]), torch.full(largest.shape, torch.inf, device=matrix.device)
    for start in starts:
        steps = round_steps(start)
        rounded = quantize_groups(matrix, steps, bits).float() * spread_steps(steps, matrix.shape[1])
        error = (rounded - matrix).view(groups.shape).square().sum(-1)
        best, least = torch.where(error < least, steps, best), torch.minimum(error, least)
    return best


def parametrize_(layer: nn.Module, rounding: nn.Module) -> None:
    """Let a layer compute with a rounded weight.

    Args:
        layer: changed in place.
        rounding: of ``PackedWeight`` or ``Int8Weight``.
    """
    parametrize.register_parametrization(layer, "weight", rounding, unsafe=True)


def find_rounding(layer: nn.Module) -> PackedWeight | Int8Weight | None:
    """Return the rounding of a layer's weight, if there is one."""
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    last = list(cast("Any", layer.parametrizations)["weight"])[-1]
    return last if isinstance(last, PackedWeight | Int8Weight) else None
