"""When a module takes the road that is fast on a CPU in training, and when the one that is written out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_PLAIN: ContextVar[bool] = ContextVar("plain_kernels", default=False)


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Take the written-out road within the block: to count its operations, and as the reference of the other one.

    Examples:
        >>> with plain_kernels():
        ...     has_fast_kernels(torch.zeros(1))
        False
    """
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def wants_plain_kernels() -> bool:
    """Return whether the written-out road is wanted."""
    return _PLAIN.get()


def has_fast_kernels(*tensors: Tensor) -> bool:
    """Return whether there is a faster road for these tensors: fp32 on a CPU, computed now and not recorded as a graph.

    Examples:
        >>> has_fast_kernels(torch.zeros(1)), has_fast_kernels(torch.zeros(1, dtype=torch.float64))
        (True, False)
    """
    if _PLAIN.get() or torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return False
    if torch.is_autocast_enabled("cpu"):
        return False
    return all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in tensors)
