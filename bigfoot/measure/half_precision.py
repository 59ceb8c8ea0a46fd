"""Whether this machine computes a convolution in half precision as it does in fp32."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WRONG = 0.1
"""Relative error beyond which an answer is wrong, not rounded: bf16 keeps some 3 digits."""


@torch.no_grad()
def measure_half_precision_error(conv: nn.Module, size: int, dtype: torch.dtype) -> float:
    """Compare a convolution over frames under autocast with itself in fp32.

    torch 2.13 computes the positional convolution wrongly in bf16 on CPUs with AMX, for 8 channels a group and an even
    kernel: the answer is unrelated to the right one.

    Args:
        conv: maps (B, T, D) to (B, T, D), with fp32 parameters, on the device in question.
        size: D.
        dtype: of half precision.

    Returns:
        Norm of the difference over the norm of the answer, 0 or more; NaN where the answer is no number.

    Examples:
        >>> measure_half_precision_error(nn.Linear(8, 8), 8, torch.bfloat16) < 0.1
        True
    """
    device = next(conv.parameters()).device
    # A generator of its own: a check must not move the numbers of the run.
    x = torch.randn(2, 100, size, generator=torch.Generator().manual_seed(0)).to(device)
    right = conv(x)
    with torch.autocast(device.type, dtype):
        half = conv(x).float()
    return float((half - right).norm() / right.norm())


class ProneConv(nn.Module):
    """The smallest convolution over frames that is known to go wrong: 8 channels a group, an even kernel."""

    SIZE = 64

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.conv = nn.Conv1d(self.SIZE, self.SIZE, 16, padding=8, groups=self.SIZE // 8)
        with torch.no_grad():
            self.conv.weight.normal_(generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, SIZE) to the same shape."""
        return self.conv(x.transpose(1, 2))[..., :-1].transpose(1, 2)
