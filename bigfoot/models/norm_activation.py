"""Group norm over real frames and GELU in one pass over memory, for training and inference on a CPU.

The first convolution's output is the largest tensor of a model. Written out, norm and activation go through it a dozen
times, forward and backward, and most of that is memory traffic. Here both are applied to parts that fit the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_PART = 1 << 18
"""Numbers of a part, a megabyte in fp32."""


def _parts(x: Tensor, lengths: list[int]) -> Iterator[tuple[int, slice, int]]:
    """Yield row, channels and real frames of every part."""
    channels, frames = x.shape[1:]
    at_once = max(1, min(channels, _PART // max(1, frames)))
    for row, length in enumerate(lengths):
        for start in range(0, channels, at_once):
            yield row, slice(start, min(start + at_once, channels)), length


def _norm(part: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize (C, T), each channel alone; also its means and reciprocal deviations."""
    channels, frames = part.shape
    normed, mean, scale = torch.native_group_norm(part[None], weight, bias, 1, channels, frames, channels, eps)
    return normed[0], mean, scale


class _NormGelu(torch.autograd.Function):
    """GELU of the group norm; backward computes the norm again rather than keep it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, lengths: list[int], eps: float) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x, weight, bias)
        ctx.lengths, ctx.eps = lengths, eps
        out = torch.empty_like(x)
        for row, channels, length in _parts(x, lengths):
            if length:
                part = x[row, channels, :length].contiguous()
                normed, _, _ = _norm(part, weight[channels], bias[channels], eps)
                out[row, channels, :length] = torch.ops.aten.gelu_(normed)
            out[row, channels, length:] = 0.0
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, weight, bias = ctx.saved_tensors
        grads = torch.empty_like(x)
        of_weight, of_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        for row, channels, length in _parts(x, ctx.lengths):
            grads[row, channels, length:] = 0.0
            if not length:
                continue
            part, scale = x[row, channels, :length].contiguous(), weight[channels]
            normed, mean, spread = _norm(part, scale, bias[channels], ctx.eps)
            inner = torch.ops.aten.gelu_backward(grad[row, channels, :length].contiguous(), normed)
            count = len(part)
            found = torch.ops.aten.native_group_norm_backward(
                inner[None], part[None], mean, spread, scale, 1, count, length, count, [True, True, True]
            )
            grads[row, channels, :length] = found[0][0]
            of_weight[channels] += found[1]
            of_bias[channels] += found[2]
        return grads, of_weight, of_bias, None, None


def norm_and_gelu(x: Tensor, lengths: Tensor | None, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Normalize each channel over an utterance's real frames, and apply GELU.

    Args:
        x: (B, C, T) in fp32 on the CPU.
        lengths: real frames of each utterance, (B,), 0 to T; None where all are.
        weight: (C,).
        bias: (C,).
        eps: added to the variance.

    Returns:
        (B, C, T), 0 beyond the lengths.

    Examples:
        >>> x = torch.randn(2, 4, 9)
        >>> plain = torch.nn.functional.gelu(torch.nn.functional.group_norm(x, 4))
        >>> ours = norm_and_gelu(x, torch.tensor([9, 9]), torch.ones(4), torch.zeros(4), 1e-5)
        >>> torch.allclose(ours, plain, atol=1e-5)
        True
    """
    counts = [x.shape[-1]] * len(x) if lengths is None else lengths.long().tolist()
    found: Tensor = _NormGelu.apply(x, weight, bias, counts, eps)
    return found
