"""Inputs of a linear map removed one after the other, the others making up for them in closed form."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

RIDGE = 1e-4
"""Of the inputs' mean energy, added to each: directions that audio never takes still have an inverse."""
_AT_ONCE = 256
"""Units are removed in so many steps at most from a whole map: one by one up to so many units."""


class Elimination:
    """Structured optimal brain surgeon over the inputs of one linear map.

    With H = X^T X the outer products of the inputs, removing the unit S and refitting all others to what the whole map
    gave costs tr(W_S ((H^-1)_SS)^-1 W_S^T), and the refit adds -W_S ((H^-1)_SS)^-1 (H^-1)_S: (Hassibi and Stork, 1993,
    equation 5, for single weights; Kurtic et al., 2023, arXiv 2302.04089, equations 2 and 3, for units). What is left
    of H^-1 follows by the same elimination, so that a whole path of sizes costs one inversion.

    Args:
        gram: (n b + c, n b + c), H; a unit's b entries side by side, behind them c inputs that always stay, such as
            the constant.
        weight: (out, n b + c).
        count: n units.

    Attributes:
        weight: (out, n b + c), zero at removed units.
        error: squared error so far over the energy of what the whole map gave.

    Examples:
        >>> x = torch.tensor([[1.0, 1.0, 0.0], [2.0, 2.0, 0.5], [0.0, 0.0, 2.0]])  # the second input repeats the first
        >>> path = Elimination(x.T @ x, torch.tensor([[1.0, 0.0, 1.0]]), 3)
        >>> path.remove(1)
        >>> len(path.left), 2 in path.left, round(path.error, 3)
        (2, True, 0.0)
    """

    def __init__(self, gram: Tensor, weight: Tensor, count: int, size: int = 1) -> None:
        self.count, self.size = count, size
        precise = gram.double().cpu()
        self.weight = weight.detach().double().cpu().clone()
        self._energy = float((self.weight @ precise * self.weight).sum().clamp(min=1e-12))
        ridge = (RIDGE * precise.diagonal().mean()).clamp(min=1e-9)
        precise = precise + ridge * torch.eye(len(precise), dtype=torch.float64)
        self._inverse = torch.cholesky_inverse(torch.linalg.cholesky(precise))
        self._left = torch.ones(count, dtype=torch.bool)
        self._lost = 0.0

    @property
    def left(self) -> list[int]:
        """Units that are left, ascending."""
        return self._left.nonzero().flatten().tolist()  # type: ignore[no-any-return]

    @property
    def error(self) -> float:
        """Squared error of the map's outputs over their energy."""
        return self._lost / self._energy

    def scores(self) -> Tensor:
        """Return what removing each unit alone would cost, (n,); infinite for those that are gone."""
        size, count = self.size, self.count
        blocks = self.weight[:, : count * size].unflatten(1, (count, size)).permute(1, 2, 0)  # (n, b, out)
        own = self._inverse[: count * size, : count * size].view(count, size, count, size)
        own = own.diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        own = torch.where(self._left[:, None, None], own, torch.eye(size, dtype=own.dtype))
        costs = (blocks * torch.linalg.solve(own, blocks)).sum((1, 2))
        return costs.masked_fill(~self._left, torch.inf)

    def remove(self, count: int) -> None:
        """Remove the units that cost least.

        Args:
            count: how many, fewer than are left or all of them.
        """
        step = max(1, -(-self.count // _AT_ONCE))
        while count > 0:
            many = min(step, count)
            self.remove_units(self.scores().topk(many, largest=False).indices.tolist())
            count -= many

    def remove_units(self, units: Sequence[int]) -> None:
        """Remove units, whatever they cost.

        Args:
            units: that are left.
        """
        entries = (torch.tensor([*units])[:, None] * self.size + torch.arange(self.size)).flatten()
        rows = self._inverse[entries]
        taken = torch.linalg.solve(rows[:, entries], rows)  # ((H^-1)_SS)^-1 (H^-1)_S:
        weight = self.weight[:, entries]
        self._lost += float((weight * torch.linalg.solve(rows[:, entries], weight.T).T).sum())
        self.weight -= weight @ taken
        self._inverse -= rows.T @ taken
        # Exactly zero, whatever rounding left.
        self.weight[:, entries] = 0.0
        self._inverse[entries], self._inverse[:, entries] = 0.0, 0.0
        self._left[torch.tensor([*units])] = False
