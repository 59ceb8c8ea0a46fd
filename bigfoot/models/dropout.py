"""Dropout that draws few random numbers on a CPU, of activations and within attention."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bigfoot.models.kernels import has_fast_kernels
from bigfoot.models.packed_attention import attend_packed, can_pack

_STEPS = 1 << 16


class Drawn(NamedTuple):
    """What decides which numbers are dropped.

    Two random bytes a number, in a fifth of the time of ``bernoulli_``.

    Args:
        words: int16, of the shape of what is dropped.
        least: of a word whose number is kept.
        factor: of the numbers that are kept.

    Examples:
        >>> drawn = Drawn.draw(torch.Size([1000, 1000]), 0.25)
        >>> round(float((drawn.keep() > 0).float().mean()), 2), round(drawn.factor, 4)
        (0.75, 1.3333)
    """

    words: Tensor
    least: int
    factor: float

    @classmethod
    def draw(cls, shape: torch.Size, rate: float) -> Drawn:
        """Draw from torch's generator.

        Args:
            shape: of what is dropped.
            rate: share that is dropped, above 0 and below 1; rounded to 1 / 65536.
        """
        dropped = min(_STEPS - 1, round(rate * _STEPS))
        count = shape.numel()
        words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        return cls(words[:count].view(shape), dropped - _STEPS // 2, _STEPS / (_STEPS - dropped))

    def keep(self) -> Tensor:
        """Return 1 where a number is kept and 0 elsewhere; a product with it is faster than booleans are."""
        return torch.ge(self.words, self.least, out=torch.empty(self.words.shape))

    def row(self, index: int) -> Drawn:
        """Return what decides on one row."""
        return Drawn(self.words[index], self.least, self.factor)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, drawn: Drawn) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(drawn.words)
        ctx.rest = drawn[1:]
        return drawn.keep().mul_(drawn.factor).mul_(x)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        drawn = Drawn(*ctx.saved_tensors, *ctx.rest)
        return drawn.keep().mul_(drawn.factor).mul_(grad), None


def dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """Drop numbers at random, and scale the others up; ``nn.functional.dropout`` with other random numbers.

    Args:
        x: of any shape.
        rate: share that is dropped.
        training: whether anything is.

    Examples:
        >>> dropout(torch.ones(2), 0.5, training=False)
        tensor([1., 1.])
    """
    if not (training and 0 < rate < 1 and has_fast_kernels(x)):
        return nn.functional.dropout(x, rate, training)
    found: Tensor = _Dropout.apply(x, Drawn.draw(x.shape, rate))
    return found


class Dropout(nn.Dropout):
    """``nn.Dropout`` by ``dropout``."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop numbers in training."""
        return dropout(input, self.p, self.training)


class _DroppedAttention(torch.autograd.Function):
    """Attention, one utterance after the other: what has T times T numbers stays in the cache, but for the maps."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, drawn: Drawn  # noqa: ANN401
    ) -> Tensor:
        scale = query.shape[-1] ** -0.5
        added = None if mask is None else _as_scores(mask, query.dtype)
        maps, mixed = query.new_empty(drawn.words.shape), torch.empty_like(value)
        for row in range(len(query)):
            scores = torch.matmul(query[row] * scale, key[row].transpose(-1, -2))
            if added is not None:
                scores += added[row if len(added) > 1 else 0]
            maps[row] = scores.softmax(-1)
            torch.matmul(drawn.row(row).keep().mul_(maps[row]), value[row] * drawn.factor, out=mixed[row])
        ctx.save_for_backward(query, key, value, mask, maps, drawn.words)
        ctx.scale, ctx.rest = scale, drawn[1:]
        return mixed

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        query, key, value, mask, maps, words = ctx.saved_tensors
        drawn = Drawn(words, *ctx.rest)
        of_query, of_key, of_value = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        of_mask = torch.zeros_like(mask) if ctx.needs_input_grad[3] else None
        for row in range(len(query)):
            keep, here, scaled = drawn.row(row).keep(), maps[row], grad[row] * drawn.factor
            of_value[row] = torch.matmul((keep * here).transpose(-1, -2), scaled)
            of_maps = keep.mul_(torch.matmul(scaled, value[row].transpose(-1, -2)))
            of_scores = torch.ops.aten._softmax_backward_data(of_maps, here, -1, here.dtype)
            if of_mask is not None:
                one = of_mask[row if len(mask) > 1 else 0]
                one += of_scores.sum_to_size(one.shape)
            of_query[row] = torch.matmul(of_scores, key[row] * ctx.scale)
            of_key[row] = torch.matmul(of_scores.transpose(-1, -2), query[row] * ctx.scale)
        return of_query, of_key, of_value, of_mask, None


def _as_scores(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return numbers that are added to scores."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, float("-inf"))


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, rate: float) -> Tensor:
    """Compute attention; ``scaled_dot_product_attention``, with other random numbers of its dropout on a CPU.

    Where weights are dropped PyTorch has no fused attention on a CPU, and its written-out one is slow at the softmax
    and at the random numbers.

    Args:
        query: (B, H, T, head_dim).
        key: (B, H, T, head_dim).
        value: (B, H, T, head_dim).
        mask: broadcastable to (B, H, T, T): booleans, or numbers that are added to the scores; None for neither.
            Booleans (B, 1, 1, T) are those of padding: True on the first frames of each row.
        rate: share of the weights that is dropped.

    Returns:
        (B, H, T, head_dim).
    """
    if mask is not None and can_pack(query, mask, rate):
        return attend_packed(query, key, value, mask)
    fast = 0 < rate < 1 and query.ndim == 4 and (mask is None or mask.ndim == 4)
    if not fast or not has_fast_kernels(query, key, value):
        return nn.functional.scaled_dot_product_attention(query, key, value, mask, rate)
    drawn = Drawn.draw(query.shape[:-1] + key.shape[-2:-1], rate)
    found: Tensor = _DroppedAttention.apply(query, key, value, mask, drawn)
    return found
