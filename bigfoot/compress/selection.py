"""Which units explain best what the next linear map gives: greedy, by least squares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_RIDGE = 1e-6  # Of the inputs' mean energy: silent units still have an inverse.


class Reader(NamedTuple):
    """A linear map that reads the units.

    Args:
        gram: (n b, n b), sum over frames of the outer products of its inputs; a unit's b entries side by side.
        weight: (out, n b).
    """

    gram: Tensor
    weight: Tensor


def select_units(readers: Sequence[Reader], count: int, keep: int, blocks: int = 1) -> list[int]:
    """Choose units greedily: each time the one that, with those chosen, explains most of what is read.

    What is read is explained as well as least squares can from the chosen units alone, so that a unit which others
    explain does not stay, however large its energy (after He et al., 2017, section 3.1, by greedy steps).

    Args:
        readers: each counts by the share of it that is explained.
        count: units there are.
        keep: units that stay, a multiple of ``blocks``.
        blocks: of so many equal runs of units equally many stay.

    Returns:
        Ascending indices.

    Examples:
        >>> inputs = torch.tensor([[1.0, 1.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 0.5]])  # the second repeats the first
        >>> select_units([Reader(inputs.T @ inputs, torch.eye(3))], 3, 2)
        [0, 2]
    """
    left = [_Unexplained(reader, count) for reader in readers]
    room = [keep // blocks] * blocks
    chosen: list[int] = []
    free = torch.ones(count, dtype=torch.bool)
    while len(chosen) < keep:
        open_blocks = torch.tensor(room).repeat_interleave(count // blocks) > 0
        gains = torch.stack([each.gains() for each in left]).sum(0)
        best = int(gains.masked_fill(~(free & open_blocks), -torch.inf).argmax())
        for each in left:
            each.explain_(best)
        free[best] = False
        room[best // (count // blocks)] -= 1
        chosen.append(best)
    return sorted(chosen)


class _Unexplained:
    """What is left of a reader's inputs, and of what it gives, when the chosen units have explained what they can."""

    def __init__(self, reader: Reader, count: int) -> None:
        gram, weight = reader.gram.double().cpu(), reader.weight.detach().double().cpu()
        cross = weight @ gram
        energy = (cross * weight).sum().clamp(min=1e-12)
        self.count, self.size = count, len(gram) // count
        self.gram, self.cross = gram / energy, cross / energy
        self.floor = _RIDGE * self.gram.diagonal().mean().clamp(min=1e-12) * torch.eye(self.size, dtype=gram.dtype)

    def gains(self) -> Tensor:
        """Return the share of what is read that each unit would explain, (count,)."""
        cross = self.cross.unflatten(1, (self.count, self.size)).permute(1, 2, 0)  # (n, b, out)
        own = self.gram.view(self.count, self.size, self.count, self.size).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        gains = (cross * torch.linalg.solve(own + self.floor, cross)).sum((1, 2))
        return gains.masked_fill(~self._is_left(own), 0.0)

    def explain_(self, unit: int) -> None:
        """Take out what a unit explains."""
        at = slice(unit * self.size, (unit + 1) * self.size)
        if not self._is_left(self.gram[at, at]):
            return
        explained = torch.linalg.solve(self.gram[at, at] + self.floor, self.gram[at])
        self.cross -= self.cross[:, at] @ explained
        self.gram -= self.gram[:, at] @ explained

    def _is_left(self, own: Tensor) -> Tensor:
        """Whether a unit's own energy, (..., b, b), exceeds rounding, which no unit explains."""
        return own.diagonal(dim1=-2, dim2=-1).sum(-1) > self.floor.diagonal().sum()
