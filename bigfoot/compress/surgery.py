"""Pruning: units are removed from the tensors of a model, whoever chose them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bigfoot.compress.units import Place, Units, find_blocks, find_units
from bigfoot.config import Problem
from bigfoot.errors import UnfitError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.reshape import load_plain_state, plain_state, reshape_config

KeepIndices = Mapping[Place, Sequence[int]]
"""By place, which units stay, 0-based and ascending; places that are absent keep all."""

_NORMED = "encoder.encoder.pos_conv_embed.conv.parametrizations.weight.original"


def prune_units(model: BigfootForCTC, keep_indices: KeepIndices) -> BigfootForCTC:
    """Build the smaller model of the units that stay.

    Without heads, feed-forward units, or channels that no norm averages over (group-norm encoders, but for the last
    convolution's where a layer norm reads them), it equals the model with those zeroed. Where a layer norm
    reads channels (``width``, layer-norm encoders), its mean and variance are from now on over those that stay.

    Args:
        model: left as it is.
        keep_indices: which units stay.

    Returns:
        The new model in eval mode.

    Raises:
        UnfitError: with all that is wrong, see ``keep_problems``.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> smaller = prune_units(load_model("tiny_teacher").model, {Place("heads", 0): [1, 3]})
        >>> smaller.config.heads_of_layers[:2]
        [2, 4]
    """
    keep = {place: list(kept) for place, kept in keep_indices.items()}
    pruned = BigfootForCTC(pruned_shape(model.config, keep))
    state = take_units(plain_state(model), model.config, keep)
    load_plain_state(pruned, {name: _own(tensor) for name, tensor in state.items()})
    return pruned.eval()


def take_units(state: Mapping[str, Tensor], config: BigfootConfig, keep_indices: KeepIndices) -> dict[str, Tensor]:
    """Take units out of the tensors of a model, in the order in which they are named; gradients flow through it.

    Args:
        state: as ``plain_state`` names it; left as it is.
        config: the shape of that model.
        keep_indices: which units stay, checked by whoever calls; all of them in another order permute a place.

    Returns:
        All tensors; those that no place holds are the same objects.
    """
    units, taken = find_units(config), dict(state)
    weight_norm = Place("width") in keep_indices and f"{_NORMED}1" in taken
    if weight_norm:
        # A weight norm is over all channels: the kernel is cut as it is, and normed anew.
        taken[f"{_NORMED}1"] = torch._weight_norm(taken[f"{_NORMED}1"], taken[f"{_NORMED}0"], 2)
    for place, kept in keep_indices.items():
        found = units[place]
        for piece in found.pieces:
            tensor = taken[piece.tensor]
            taken[piece.tensor] = piece.take(tensor, torch.tensor(list(kept), device=tensor.device), found.count)
    if weight_norm:
        taken[f"{_NORMED}0"] = taken[f"{_NORMED}1"].norm(dim=(0, 1), keepdim=True)
    return taken


def remove_blocks(model: BigfootForCTC, blocks: Collection[Place]) -> BigfootForCTC:
    """Build the model without some attention and feed-forward blocks.

    Its outputs are those of the model where these add nothing; it has their norms only where they come after the block.

    Args:
        model: left as it is.
        blocks: places of ``find_blocks``.

    Returns:
        The new model in eval mode.

    Raises:
        UnfitError: there is no such block, or none that can go alone.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> smaller = remove_blocks(load_model("tiny_teacher").model, [Place("attention_block", 0)])
        >>> smaller.config.heads_of_layers[:2]
        [0, 4]
    """
    shape, there = model.config, find_blocks(model.config)
    if strange := [str(place) for place in blocks if place not in there]:
        known = ", ".join(map(str, there))
        message = f"there is no such block, or it cannot go alone; blocks are {known}"
        raise UnfitError(*(Problem(place, "no_place", message) for place in strange))
    smaller = BigfootForCTC(without_blocks(shape, blocks))
    gone = tuple(name for place in blocks for name in there[place])
    if smaller.config.position_table_layer is None:
        gone += ("encoder.encoder.position_bias.",)
    state = plain_state(model)
    load_plain_state(smaller, {name: tensor for name, tensor in state.items() if not name.startswith(gone)})
    return smaller.eval()


def without_blocks(shape: BigfootConfig, blocks: Collection[Place]) -> BigfootConfig:
    """Return the shape without some blocks; see ``remove_blocks``.

    Args:
        shape: with them.
        blocks: places of ``find_blocks``.
    """
    return reshape_config(shape, **_lists_without(shape, blocks))


# Kinds of blocks: what counts their units, and the field that lists them.
_LISTS = {
    "attention_block": ("heads_of_layers", "layer_num_attention_heads"),
    "feed_forward_block": ("widths_of_layers", "layer_intermediate_sizes"),
    "first_feed_forward_block": ("first_widths_of_layers", "layer_first_intermediate_sizes"),
    "conv_module_block": ("conv_channels_of_layers", "layer_conv_channels"),
}


def _lists_without(shape: BigfootConfig, blocks: Collection[Place]) -> dict[str, list[Any]]:
    """Fields of a shape in which some blocks have no units."""
    lists: dict[str, list[Any]] = {}
    for kind, layer in blocks:
        counts, field = _LISTS[kind]
        lists.setdefault(field, list(getattr(shape, counts)))[layer] = 0
        if kind == "attention_block" and shape.has_position_bias:
            lists.setdefault("layer_position_heads", list(shape.position_heads_of_layers))[layer] = []
    return lists


def _own(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous()


def pruned_shape(config: BigfootConfig, keep_indices: KeepIndices) -> BigfootConfig:
    """Return the shape after pruning.

    Args:
        config: the shape there is.
        keep_indices: which units stay.

    Returns:
        The new shape; layers that are all alike are written as Hugging Face does.

    Raises:
        UnfitError: with all that is wrong, see ``keep_problems``.

    Examples:
        >>> pruned_shape(BigfootConfig(), {Place("conv", 1): range(256)}).conv_dim[:3]
        [512, 256, 512]
    """
    problems = list(keep_problems(config, keep_indices))
    if problems:
        raise UnfitError(*problems)

    def counts(kind: str, old: Sequence[int]) -> list[int]:
        return [len(keep_indices.get(Place(kind, layer), range(count))) for layer, count in enumerate(old)]

    width = len(keep_indices.get(Place("width"), range(config.hidden_size)))
    heads, everyone = counts("heads", config.heads_of_layers), width // config.head_dim
    widths = counts("feed_forward", config.widths_of_layers)
    # The feed-forward blocks of adapters, which those behind convolutions have not, stay as wide as they are.
    blocks_behind = config.add_adapter and not config.has_convolutions
    alike = len(set(widths)) == 1 and widths[0] > 0 and not blocks_behind
    position_heads = config.layer_position_heads
    if config.has_position_bias:
        position_heads = [
            [chosen[head] for head in keep_indices.get(Place("heads", layer), range(len(chosen)))]
            for layer, chosen in enumerate(config.position_heads_of_layers)
        ]
    return reshape_config(
        config,
        hidden_size=width,
        num_attention_heads=everyone,
        layer_num_attention_heads=None if set(heads) == {everyone} else heads,
        layer_position_heads=position_heads,
        intermediate_size=widths[0] if alike else config.intermediate_size,
        layer_intermediate_sizes=None if alike else widths,
        conv_dim=counts("conv", config.conv_dim),
        **(_conformer_lists(config, counts, width, widths[0] if alike else None) if config.is_conformer else {}),
    )


def _conformer_lists(
    config: BigfootConfig, counts: Callable[[str, Sequence[int]], list[int]], width: int, everywhere: int | None
) -> dict[str, Any]:
    """Fields of a conformer's shape after pruning; ``everywhere`` is the width of all second feed-forward blocks."""
    first = counts("first_feed_forward", config.first_widths_of_layers)
    channels = counts("conv_module", config.conv_channels_of_layers)
    size = config.sinusoid_size if config.position_embeddings_type == "relative" else width
    return {
        "layer_first_intermediate_sizes": None if set(first) == {everywhere} else first,
        "layer_conv_channels": None if set(channels) == {width} else channels,
        # Frequencies of the sinusoids follow from their width.
        "relative_size": None if size == width else size,
    }


def keep_problems(config: BigfootConfig, keep_indices: KeepIndices) -> Iterator[Problem]:
    """Explain why units cannot stay alone.

    Args:
        config: the shape there is.
        keep_indices: which units stay.

    Yields:
        Problem by problem; the key is the place.
    """
    units = find_units(config)
    for place, kept in keep_indices.items():
        if place not in units:
            yield Problem(str(place), "no_place", "the model has no such place, or none that can be cut alone")
        else:
            yield from _index_problems(place, [*kept], units[place])
    if Place("width") in keep_indices and config.has_position_bias:
        message = "each head's gate reads its own share of it (WavLM), so it cannot be cut; cut heads or layers"
        yield Problem("width", "not_prunable", message)
    for members in config.conv_sharing or []:
        yield from _sharing_problems(config, members, keep_indices)


def _index_problems(place: Place, kept: list[int], units: Units) -> Iterator[Problem]:
    if not kept or kept != sorted(set(kept)) or kept[0] < 0 or kept[-1] >= units.count:
        message = f"expected ascending numbers from 0 to {units.count - 1}, one at least, got {kept}"
        yield Problem(str(place), "bad_indices", message)
        return
    if len(kept) % units.multiple:
        yield Problem(str(place), "indivisible", f"{len(kept)} is no multiple of {units.multiple}")
    for groups in set(units.groupings) - {1}:
        run = units.count // groups
        stay = [sum(index // run == group for index in kept) for group in range(groups)]
        if len(set(stay)) > 1:
            message = f"equally many must stay of each of its {groups} groups, not {stay}"
            yield Problem(str(place), "uneven_groups", message)


def _sharing_problems(config: BigfootConfig, members: Sequence[int], keep_indices: KeepIndices) -> Iterator[Problem]:
    """Layers with one kernel have one set of inputs and one of outputs."""
    for layers, what in ((members, "outputs"), ([layer - 1 for layer in members], "inputs")):
        known = [layer for layer in layers if layer >= 0]
        chosen = {tuple(keep_indices.get(Place("conv", layer), range(config.conv_dim[layer]))) for layer in known}
        if len(chosen) > 1:
            message = f"layers {list(members)} share a kernel and must keep the same {what}, those of {list(layers)}"
            yield Problem("conv", f"other_{what}", message)
