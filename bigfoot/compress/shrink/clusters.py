"""Feed-forward units that are alike become one, by k-means over their weights: no audio is read."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from bigfoot.compress.shrink.cut import Cut
from bigfoot.compress.shrink.cut_kind import CutKind
from bigfoot.compress.shrink.survey import Survey
from bigfoot.compress.shrink.units import carry_out, unit_cut
from bigfoot.compress.units import find_units

_SHARES = (1 / 8, 1 / 4)
_ITERATIONS = 8


def cluster_rows(rows: Tensor, count: int, seed: int) -> Tensor:
    """Divide rows into clusters by k-means (Lloyd, 1982).

    Args:
        rows: (n, d).
        count: clusters, at most n; none stays empty.
        seed: of the rows that are the first centres.

    Returns:
        (n,) the cluster of each row.

    Examples:
        >>> cluster_rows(torch.tensor([[0.0], [9.0], [0.1]]), 2, seed=0).unique().tolist()
        [0, 1]
    """
    generator = torch.Generator().manual_seed(seed)
    centres = rows[torch.randperm(len(rows), generator=generator)[:count]].clone()
    owner = torch.zeros(len(rows), dtype=torch.long)
    for _ in range(_ITERATIONS):
        distances = torch.cdist(rows, centres)
        owner = distances.argmin(1)
        _fill_empty_(owner, distances.gather(1, owner[:, None])[:, 0], count)
        sums = torch.zeros_like(centres).index_add_(0, owner, rows)
        centres = sums / torch.bincount(owner, minlength=count).clamp(min=1)[:, None]
    return owner


def _fill_empty_(owner: Tensor, distances: Tensor, count: int) -> None:
    """Give each empty cluster the row that is furthest from its centre and not alone there."""
    sizes = torch.bincount(owner, minlength=count)
    order = iter(distances.argsort(descending=True, stable=True).tolist())
    for cluster in (sizes == 0).nonzero().flatten().tolist():
        row = next(at for at in order if sizes[owner[at]] > 1)
        sizes[owner[row]] -= 1
        owner[row] = cluster
        sizes[cluster] = 1


def merge_units(inner: Tensor, bias: Tensor, outer: Tensor, owner: Tensor) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """Make one unit of each cluster: its centre reads the frames, and what reads it adds up what read its members.

    Channel-wise clustering of parameters without data (Xu et al., 2026, arXiv 2606.11836, section 2), here of whole
    units, so that fewer of them are left.

    Args:
        inner: (n, in), weights of the units.
        bias: (n,).
        outer: (out, n), of what reads them.
        owner: (n,), the cluster of each.

    Returns:
        The same three with the whole cluster in its first unit and nothing reading the others, and the first units.
    """
    count = int(owner.max()) + 1
    sizes = torch.bincount(owner, minlength=count).to(inner)
    first = [int((owner == cluster).nonzero()[0]) for cluster in range(count)]
    rows = torch.cat([inner, bias[:, None]], 1)
    centres = torch.zeros(count, rows.shape[1], dtype=rows.dtype).index_add_(0, owner, rows) / sizes[:, None]
    added = torch.zeros(outer.shape[0], count, dtype=outer.dtype).index_add_(1, owner, outer)
    inner, bias, outer = inner.clone(), bias.clone(), torch.zeros_like(outer)
    inner[first], bias[first], outer[:, first] = centres[:, :-1], centres[:, -1], added
    return inner, bias, outer, sorted(first)


def _propose(survey: Survey) -> Iterator[Cut]:
    for place, units in find_units(survey.config).items():
        if place.kind != "feed_forward":
            continue
        name = f"encoder.encoder.layers.{place.layer}.feed_forward."
        inner, bias = (survey.state[f"{name}intermediate_dense.{each}"] for each in ("weight", "bias"))
        outer = survey.state[f"{name}output_dense.weight"]
        rows = torch.cat([inner, bias[:, None]], 1)
        for share in _SHARES:
            left = units.count - round(share * units.count)
            left = left // 8 * 8 or left
            if not 0 < left < units.count:
                continue
            owner = cluster_rows(rows, left, survey.seed + place.layer)
            merged = merge_units(inner, bias, outer, owner)
            names = ("intermediate_dense.weight", "intermediate_dense.bias", "output_dense.weight")
            tensors = {f"{name}{each}": tensor for each, tensor in zip(names, merged[:3], strict=True)}
            yield unit_cut(survey.config, place, merged[3], units.count, tensors, "clusters")


CLUSTERS = CutKind("clusters", "feed-forward units in clusters", _propose, carry_out)
