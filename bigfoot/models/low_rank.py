"""Linear maps that are a product of two thin ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn


class LowRankLinear(nn.Module):
    """A linear map of low rank: ``up(down(x))``.

    Args:
        in_features: of the input.
        out_features: of the output.
        rank: features between the two.

    Examples:
        >>> import torch
        >>> LowRankLinear(8, 6, 2)(torch.zeros(3, 8)).shape
        torch.Size([3, 6])
    """

    def __init__(self, in_features: int, out_features: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(in_features, rank, bias=False)
        self.up = nn.Linear(rank, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        return self.up(self.down(x))


def factor_linears_(module: nn.Module, ranks: Mapping[str, int]) -> None:
    """Replace linear maps of a module by maps of low rank.

    Args:
        module: changed in place; the new maps are random.
        ranks: by the linear map's path.
    """
    for path, rank in ranks.items():
        owner, _, last = path.rpartition(".")
        linear = cast("nn.Linear", module.get_submodule(path))
        setattr(module.get_submodule(owner), last, LowRankLinear(linear.in_features, linear.out_features, rank))
