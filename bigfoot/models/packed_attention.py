"""Attention of a padded batch by a kernel for packed sequences, which needs no mask (Dao et al., 2022, FlashAttention).

With a mask PyTorch's attention leaves its fastest kernel. Here the rows of a batch are one sequence of segments, each
row's real frames and each row's padding: nothing is moved or waited for, and no frame attends beyond its segment.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import cast

import torch
from torch import Tensor

from bigfoot.models.kernels import wants_plain_kernels

Kernel = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, int, int], Tensor]
_WIDEST_HEAD, _HEAD_STEP = 256, 8
_FIRST_CAPABILITY = (8, 0)


@cache
def find_kernel() -> Kernel | None:
    """Return PyTorch's attention of packed sequences; None of a version without."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return cast(Kernel, varlen_attn)


@cache
def _is_new_enough(device: int) -> bool:
    return torch.cuda.get_device_capability(device) >= _FIRST_CAPABILITY


def can_pack(query: Tensor, mask: Tensor | None, rate: float) -> bool:
    """Return whether a batch is better packed: half precision on a GPU, padding alone masked, no dropout.

    Args:
        query: (B, H, T, head_dim).
        mask: of attention.
        rate: share of the weights that is dropped, which the kernel cannot.

    Examples:
        >>> can_pack(torch.zeros(1, 1, 2, 8), torch.ones(1, 1, 1, 2, dtype=torch.bool), 0.0)
        False
    """
    if not query.is_cuda or rate or query.dtype not in (torch.float16, torch.bfloat16) or wants_plain_kernels():
        return False
    width = query.shape[-1]
    if width % _HEAD_STEP or width > _WIDEST_HEAD or torch.compiler.is_exporting():
        return False
    return masks_padding(query, mask) and find_kernel() is not None and _is_new_enough(query.device.index or 0)


def masks_padding(query: Tensor, mask: Tensor | None) -> bool:
    """Return whether a mask is of frames of each row, whoever attends to them.

    Args:
        query: (B, H, T, head_dim).
        mask: of attention.
    """
    return mask is not None and mask.dtype == torch.bool and mask.shape == (len(query), 1, 1, query.shape[2])


def attend_packed(query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor, kernel: Kernel | None = None) -> Tensor:
    """Compute attention within the real frames of each row.

    Args:
        query: (B, H, T, head_dim).
        key: (B, H, T, head_dim).
        value: (B, H, T, head_dim).
        key_mask: (B, 1, 1, T), True on the first frames of each row.
        kernel: of packed sequences; PyTorch's by default.

    Returns:
        (B, H, T, head_dim); padding attends to padding.
    """
    kernel = kernel or find_kernel()
    assert kernel is not None
    rows, _, frames, _ = query.shape
    starts = torch.arange(rows, device=query.device) * frames
    bounds = torch.stack([starts, starts + key_mask[:, 0, 0].sum(-1)], 1).flatten()
    edges = torch.nn.functional.pad(bounds, (0, 1), value=rows * frames).int()
    packed = [part.transpose(1, 2).flatten(0, 1) for part in (query, key, value)]
    found = kernel(packed[0], packed[1], packed[2], edges, edges, frames, frames)
    return found.unflatten(0, (rows, frames)).transpose(1, 2)
