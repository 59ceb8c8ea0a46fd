"""An order of the convolutions' channels in which grouped kernels keep most of the dense ones.

Channels between two convolutions have no order of their own: permuting a layer's outputs, and the next one's inputs
with them, changes no output. But a grouped convolution keeps what connects its first channels with the next layer's
first, and so on; so the order decides how much it keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import lcm

import torch
from torch import Tensor

from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.reshape import load_plain_state, plain_state

_STARTS = 8
"""Searches from as many random orders; each ends in an order that no exchange of two groups improves."""


def kernel_energies(model: BigfootForCTC) -> list[Tensor]:
    """Compute the squares of each kernel, summed over its width, (C_out, C_in) a layer."""
    return [layer.conv.weight.detach().double().square().sum(-1) for layer in model.speech_encoder.feature_encoder]


def kept_energy(energies: Sequence[Tensor], orders: Sequence[Tensor], groups: Sequence[int]) -> float:
    """Return the share of the kernels' energy that stands in the diagonal blocks of the layers that are grouped.

    Args:
        energies: (C_out, C_in) a layer.
        orders: for each layer its channels in their order, (C_out,).
        groups: of each layer.

    Returns:
        0 to 1; 1 where no layer is grouped.

    Examples:
        >>> energy = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        >>> orders = [torch.tensor([0, 1]), torch.tensor([1, 0])]
        >>> kept_energy([torch.ones(2, 1), energy], orders, [1, 2])
        1.0
    """
    kept = whole = 0.0
    for layer in range(1, len(energies)):
        if groups[layer] == 1:
            continue
        ordered = energies[layer][orders[layer]][:, orders[layer - 1]]
        blocks = ordered.unflatten(0, (groups[layer], -1)).unflatten(2, (groups[layer], -1))
        kept += float(sum(blocks[group, :, group].sum() for group in range(groups[layer])))
        whole += float(ordered.sum())
    return kept / whole if whole else 1.0


def choose_orders(energies: Sequence[Tensor], groups: Sequence[int], seed: int = 0) -> list[Tensor]:
    """Search for the orders that keep the most energy.

    Layer by layer, the channels of each two groups are dealt out anew between them, which is the best that can be done
    with all else held fast, until nothing improves; from the present order and from random ones. The last layer's
    outputs stay where they are, so that features can still be compared with the teacher's.

    Args:
        energies: (C_out, C_in) a layer.
        groups: that each layer will have.
        seed: of the random starts.

    Returns:
        For each layer its channels in their new order, (C_out,); never worse than the present order.
    """
    generator = torch.Generator().manual_seed(seed)
    present = [torch.arange(len(energy)) for energy in energies]
    found = _improve(energies, present, groups)
    for _ in range(_STARTS):
        start = [torch.randperm(len(energy), generator=generator) for energy in energies[:-1]] + [present[-1]]
        other = _improve(energies, start, groups)
        if kept_energy(energies, other, groups) > kept_energy(energies, found, groups):
            found = other
    return found


def _improve(energies: Sequence[Tensor], start: Sequence[Tensor], groups: Sequence[int]) -> list[Tensor]:
    orders, reached = list(start), kept_energy(energies, start, groups)
    while True:
        for layer in range(len(energies) - 1):
            orders[layer] = _deal_layer(energies, orders, groups, layer)
        now = kept_energy(energies, orders, groups)
        # Rounding must not make it endless.
        if now <= reached + 1e-12:
            return orders
        reached = now


def _deal_layer(energies: Sequence[Tensor], orders: Sequence[Tensor], groups: Sequence[int], layer: int) -> Tensor:
    """Deal the channels of one layer out between its cells, the neighbours' orders held fast."""
    before, after = groups[layer], groups[layer + 1]
    cells = lcm(before, after)
    gains = torch.zeros(len(orders[layer]), cells, dtype=torch.float64)
    if before > 1 and layer > 0:
        blocks = energies[layer][:, orders[layer - 1]].unflatten(1, (before, -1)).sum(-1)  # (C, before)
        gains += blocks.repeat_interleave(cells // before, dim=1)
    if after > 1:
        blocks = energies[layer + 1][orders[layer + 1]].unflatten(0, (after, -1)).sum(1).T  # (C, after)
        gains += blocks.repeat_interleave(cells // after, dim=1)
    members = [cell.sort().values for cell in orders[layer].unflatten(0, (cells, -1))]
    changed = True
    while changed:
        changed = False
        for one, two in combinations(range(cells), 2):
            pool = torch.cat([members[one], members[two]])
            dealt = pool[torch.argsort(gains[pool, two] - gains[pool, one], stable=True)]
            size = len(members[one])
            new = [dealt[:size].sort().values, dealt[size:].sort().values]
            better = gains[new[0], one].sum() + gains[new[1], two].sum()
            if better > gains[members[one], one].sum() + gains[members[two], two].sum() + 1e-12:
                members[one], members[two], changed = new[0], new[1], True
    return torch.cat(members)


def reorder_channels(model: BigfootForCTC, orders: Sequence[Tensor]) -> BigfootForCTC:
    """Build the same model with its convolutions' channels in another order.

    Args:
        model: left as it is.
        orders: for each layer its channels in their new order; the last layer's must be the present one.

    Returns:
        A model in eval mode that gives the same outputs.
    """
    state = plain_state(model)
    for layer, order in enumerate(orders):
        name = f"encoder.feature_extractor.conv_layers.{layer}."
        for key in ("conv.weight", "conv.bias", "layer_norm.weight", "layer_norm.bias"):
            if name + key in state:
                state[name + key] = state[name + key][order]
        if layer > 0:
            state[name + "conv.weight"] = state[name + "conv.weight"][:, orders[layer - 1]]
    reordered = BigfootForCTC(model.config)
    load_plain_state(reordered, state)
    return reordered.eval()


def order_channels(model: BigfootForCTC, groups: Sequence[int]) -> BigfootForCTC:
    """Return the same model with its channels in the order in which so many groups keep the most energy.

    Args:
        model: with dense convolutions; left as it is.
        groups: of each layer.

    Returns:
        A model in eval mode that gives the same outputs.
    """
    return reorder_channels(model, choose_orders(kernel_energies(model), groups))
