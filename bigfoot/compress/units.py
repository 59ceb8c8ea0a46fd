"""What can be cut out of a model: its units, and every tensor that holds a part of them.

One table serves scoring and cutting, so that what is judged is what goes. It is our own rather than the dependency
graph of torch-pruning: for this one architecture it is a page, it holds for every shape of ``BigfootConfig``
(WavLM's gates, grouped and shared kernels, uneven layers), and it needs neither a traced pass nor the positional
convolution's weight norm taken off and put back. The importances are the same (``bigfoot.compress.importance``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import lcm
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bigfoot.models.attention_adapter import ADAPTER
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.plain_names import own_path
from bigfoot.models.shape import LINEARS

KINDS = ("heads", "feed_forward", "first_feed_forward", "conv_module", "conv", "width")
"""Attention heads, units of feed-forward blocks (of a conformer's first one too), channels of the convolutions in
conformer layers and of those of the front end, and channels of the frames themselves."""

BLOCKS = {"attention_block": "attention", "feed_forward_block": "feed_forward",
          "first_feed_forward_block": "first_feed_forward", "conv_module_block": "conv_module"}  # fmt: skip
"""Kinds of places that are a whole block, and the plain name of its module."""
_OUTPUTS = {
    "attention": "attention.out_proj", "feed_forward": "feed_forward.output_dense",
    "first_feed_forward": "first_feed_forward.output_dense", "conv_module": "conv_module.pointwise_conv2",
}  # fmt: skip
"""The map behind the units of a block, by its plain name in the layer."""
_MODULES = _OUTPUTS | {"heads": "attention.out_proj"}


class Place(NamedTuple):
    """Where units are.

    Args:
        kind: of ``KINDS`` or ``BLOCKS``.
        layer: transformer layer or convolution, 0-based; 0 for ``width``, which all layers share.
    """

    kind: str
    layer: int = 0

    def __str__(self) -> str:
        return self.kind if self.kind == "width" else f"{self.kind} of layer {self.layer}"

    @property
    def part(self) -> str:
        """What settings call its kind: both feed-forward blocks of a conformer are ``feed_forward``."""
        return self.kind.removeprefix("first_")

    @property
    def output(self) -> str:
        """The name in ``plain_state``, without ``.weight``, of the output map of a block."""
        return f"{_layer(self.layer)}{_OUTPUTS[BLOCKS[self.kind]]}"

    def find_output(self, layer: nn.Module, config: BigfootConfig) -> nn.Module:
        """Return the map behind the units of a place in a layer, or the output map of a block.

        Args:
            layer: of the model.
            config: its shape.
        """
        return layer.get_submodule(own_path(_MODULES[BLOCKS.get(self.kind, self.kind)], config))


@dataclass(frozen=True)
class Piece:
    """One dimension of a tensor along which units lie.

    Args:
        tensor: its name in ``plain_state``.
        dim: the dimension.
        size: entries of a unit there, side by side.
        groups: of a grouped kernel whose input channels the units are; each group's rows read its own share of them.
        repeats: how often all units stand there, one round behind the other: values, then their gates.
    """

    tensor: str
    dim: int
    size: int = 1
    groups: int = 1
    repeats: int = 1

    def take(self, tensor: Tensor, keep: Tensor, count: int) -> Tensor:
        """Keep some units.

        Args:
            tensor: all of it.
            keep: (kept,), ascending; equally many of each group.
            count: units there are.

        Returns:
            The tensor without the others.
        """
        if self.groups > 1:
            shares = (keep % (count // self.groups)).view(self.groups, -1)
            blocks = tensor.chunk(self.groups)
            return torch.cat([block.index_select(1, own) for block, own in zip(blocks, shares, strict=True)])
        rounds = torch.arange(self.repeats, device=keep.device)[:, None, None] * count
        entries = (rounds + keep[:, None]) * self.size + torch.arange(self.size, device=keep.device)
        return tensor.index_select(self.dim, entries.flatten())

    def sum(self, values: Tensor, count: int) -> Tensor:
        """Add up what belongs to each unit.

        Args:
            values: in the shape of the tensor.
            count: units there are.

        Returns:
            (count,)

        Examples:
            >>> Piece("x", dim=1, size=2).sum(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), 2)
            tensor([3., 7.])
        """
        if self.groups > 1:
            return values.unflatten(0, (self.groups, -1)).sum(1).flatten(0, 1).flatten(1).sum(1)
        return values.movedim(self.dim, 0).reshape(self.repeats, count, -1).sum((0, 2))


@dataclass(frozen=True)
class Units:
    """The units of one place.

    Args:
        count: how many there are.
        pieces: where they lie.
        groupings: into so many equal runs the units are divided, of each of which equally many must stay.
        multiple: of which their number must be one.
    """

    count: int
    pieces: tuple[Piece, ...]
    groupings: tuple[int, ...] = (1,)
    multiple: int = 1

    @property
    def blocks(self) -> int:
        """Equal runs fine enough for all groupings at once."""
        return lcm(*self.groupings)


def find_units(config: BigfootConfig) -> dict[Place, Units]:
    """Find all prunable units of a shape.

    Heads whose attention maps are lent or borrowed, and blocks with factors of low rank, stay whole; so does the width
    where there is any such layer, a layer without attention or feed-forward block, or reduced time; and so do the last
    convolution's channels and the width where no projection stands between them.

    Args:
        config: the shape.

    Returns:
        Units by place.

    Examples:
        >>> units = find_units(BigfootConfig())
        >>> len(units), units[Place("heads", 3)].count, units[Place("width")].multiple
        (32, 12, 64)
    """
    found: dict[Place, Units] = {}
    lent = {layer for pair in enumerate(config.reused_maps) if pair[1] is not None for layer in pair}
    for layer, ranks in enumerate(config.ranks_of_layers):
        if config.heads_of_layers[layer] and layer not in lent and not ranks.keys() & set(LINEARS[:4]):
            found[Place("heads", layer)] = _heads(config, layer)
        if config.widths_of_layers[layer] and not ranks.keys() & set(LINEARS[4:]):
            found[Place("feed_forward", layer)] = _feed_forward(config, layer)
        if config.first_widths_of_layers[layer] and not any(name.startswith("first_") for name in ranks):
            found[Place("first_feed_forward", layer)] = _feed_forward(config, layer, "first_")
        if config.conv_channels_of_layers[layer]:
            found[Place("conv_module", layer)] = _conv_module(config, layer)
    projected = config.feature_projection == "linear"
    for layer in range(config.num_conv_layers - (not projected)):
        found[Place("conv", layer)] = _channels(config, layer)
    whole = all(config.heads_of_layers) and all(config.widths_of_layers) and not lent
    if config.is_conformer:
        # Rotary positions turn pairs of channels, which stand apart.
        whole &= all(config.first_widths_of_layers) and all(config.conv_channels_of_layers)
        whole &= config.position_embeddings_type != "rotary"
    whole &= not config.add_adapter
    if not projected or not whole or any(config.ranks_of_layers) or config.time_reduction > 1:
        return found
    # The width of a head stays, and the configuration holds their number.
    positional = config.num_conv_pos_embedding_groups if config.positional_conv != "none" else 1
    multiple = lcm(config.head_dim, positional)
    return found | {Place("width"): Units(config.hidden_size, tuple(_width(config)), (positional,), multiple)}


def find_blocks(config: BigfootConfig) -> dict[Place, tuple[str, ...]]:
    """Find the attention and feed-forward blocks that can be removed as a whole: those whose units can be cut.

    The norm before a block goes with it; the norm after it stays.

    Args:
        config: the shape.

    Returns:
        For each block, the prefixes of its tensors' names in ``plain_state``.

    Examples:
        >>> find_blocks(BigfootConfig(num_hidden_layers=1))[Place("attention_block", 0)]
        ('encoder.encoder.layers.0.attention.',)
    """
    found: dict[Place, tuple[str, ...]] = {}
    units = find_units(config)
    for layer in range(config.num_hidden_layers):
        for kind, unit, norm in _conformer_blocks() if config.is_conformer else _transformer_blocks():
            if Place(unit, layer) in units:
                names = (f"{_layer(layer)}{kind}.", f"{_layer(layer)}{norm}.")
                found[Place(f"{kind}_block", layer)] = names if config.do_stable_layer_norm else names[:1]
    return found


def _transformer_blocks() -> tuple[tuple[str, str, str], ...]:
    """Name, kind of units and norm of each block."""
    return ("attention", "heads", "layer_norm"), ("feed_forward", "feed_forward", "final_layer_norm")


def _conformer_blocks() -> tuple[tuple[str, str, str], ...]:
    feed_forward = ((kind, kind, f"{kind}_layer_norm") for kind in ("first_feed_forward", "feed_forward"))
    # The norm of a convolution is within it.
    return ("attention", "heads", "layer_norm"), ("conv_module", "conv_module", "conv_module"), *feed_forward


def _layer(layer: int) -> str:
    return f"encoder.encoder.layers.{layer}."


def _both(name: str, dim: int = 0, size: int = 1) -> tuple[Piece, Piece]:
    """Weight and bias of a linear layer whose outputs the units are, or of a norm."""
    return Piece(f"{name}.weight", dim, size), Piece(f"{name}.bias", 0, size)


def _heads(config: BigfootConfig, layer: int) -> Units:
    name, width = f"{_layer(layer)}attention.", config.head_dim
    pieces = [piece for letter in "qkv" for piece in _both(f"{name}{letter}_proj", size=width)]
    pieces.append(Piece(f"{name}out_proj.weight", 1, width))
    if config.has_position_bias:
        pieces.append(Piece(f"{name}gru_rel_pos_const", 1))
    for own in config.own_position_maps:
        pieces += _both(f"{name}{own}", size=width)
    if config.position_embeddings_type == "relative":
        pieces += (Piece(f"{name}pos_bias_u", 0), Piece(f"{name}pos_bias_v", 0))
        pieces.append(Piece(f"{name}linear_pos.weight", 0, width))
    return Units(config.heads_of_layers[layer], tuple(pieces))


def _feed_forward(config: BigfootConfig, layer: int, which: str = "") -> Units:
    name = f"{_layer(layer)}{which}feed_forward."
    pieces = (*_both(f"{name}intermediate_dense"), Piece(f"{name}output_dense.weight", 1))
    return Units((config.first_widths_of_layers if which else config.widths_of_layers)[layer], pieces)


def _conv_module(config: BigfootConfig, layer: int) -> Units:
    """Channels of the depthwise convolution, made by values and gates before it."""
    name = f"{_layer(layer)}conv_module."
    pieces = [Piece(f"{name}pointwise_conv1.weight", 0, repeats=2), Piece(f"{name}depthwise_conv.weight", 0)]
    if config.conv_module_norm == "batch":
        stored = ("weight", "bias", "running_mean", "running_var")
        pieces += (Piece(f"{name}batch_norm.{tensor}", 0) for tensor in stored)
    else:
        pieces += _both(f"{name}depthwise_layer_norm")
    pieces.append(Piece(f"{name}pointwise_conv2.weight", 1))
    return Units(config.conv_channels_of_layers[layer], tuple(pieces))


def _channels(config: BigfootConfig, layer: int) -> Units:
    """Outputs of a convolution, which are the inputs of the next or of the projection."""
    name, groups = "encoder.feature_extractor.conv_layers.{}.".format, config.groups_of_convs
    pieces = [Piece(f"{name(layer)}conv.weight", 0)]
    if config.conv_bias:
        pieces.append(Piece(f"{name(layer)}conv.bias", 0))
    if config.feat_extract_norm == "layer" or layer == 0:
        pieces += _both(f"{name(layer)}layer_norm")
    if layer + 1 < config.num_conv_layers:
        pieces.append(Piece(f"{name(layer + 1)}conv.weight", 1, groups=groups[layer + 1]))
        return Units(config.conv_dim[layer], tuple(pieces), (groups[layer], groups[layer + 1]))
    if config.feat_proj_layer_norm:
        pieces += _both("encoder.feature_projection.layer_norm")
    pieces.append(Piece("encoder.feature_projection.projection.weight", 1))
    return Units(config.conv_dim[layer], tuple(pieces), (groups[layer],))


def _width(config: BigfootConfig) -> Iterator[Piece]:
    """Channels of the frames: written by the projection, read and written by every layer, read by the head."""
    yield from _both("encoder.feature_projection.projection")
    if config.mask_time_prob > 0 or config.mask_feature_prob > 0:
        yield Piece("encoder.masked_spec_embed", 0)
    if config.num_prompts:
        yield Piece("encoder.prompts", 1)
    if config.positional_conv != "none":
        yield from _positional(config)
    if config.final_norm:
        yield from _both("encoder.encoder.layer_norm")
    if config.is_disentangled:
        yield from _position_table(config)
    for name in map(_layer, range(config.num_hidden_layers)):
        yield from (Piece(f"{name}attention.{letter}_proj.weight", 1) for letter in "qkv")
        yield from _both(f"{name}attention.out_proj")
        yield from _both(f"{name}layer_norm")
        yield Piece(f"{name}feed_forward.intermediate_dense.weight", 1)
        yield from _both(f"{name}feed_forward.output_dense")
        yield from _both(f"{name}final_layer_norm")
        if config.adapter_attn_dim is not None:
            yield from _both(f"{name}{ADAPTER}.norm")
            yield Piece(f"{name}{ADAPTER}.linear_1.weight", 1)
            yield from _both(f"{name}{ADAPTER}.linear_2")
        yield from (Piece(f"{name}attention.{own}.weight", 1) for own in config.own_position_maps)
        if config.is_conformer:
            yield from _conformer_width(name)
    if config.squeeze_factor > 1:
        name = "encoder.encoder.upsample.projection."
        yield Piece(f"{name}weight", 0, repeats=config.squeeze_factor)
        yield from (Piece(f"{name}weight", 1), Piece(f"{name}bias", 0, repeats=config.squeeze_factor))
    if config.ctc_head:
        yield Piece("head.weight", 1)


def _position_table(config: BigfootConfig) -> Iterator[Piece]:
    name = "encoder.encoder.position_table."
    if config.relative_attention:
        yield Piece(f"{name}embeddings.weight", 1)
    if config.norms_position_table:
        yield from _both(f"{name}layer_norm")


def _conformer_width(name: str) -> Iterator[Piece]:
    """The same of what conformer layers alone have."""
    yield Piece(f"{name}first_feed_forward.intermediate_dense.weight", 1)
    yield from _both(f"{name}first_feed_forward.output_dense")
    for norm in ("first_feed_forward_layer_norm", "feed_forward_layer_norm", "conv_module.layer_norm"):
        yield from _both(f"{name}{norm}")
    yield from (Piece(f"{name}conv_module.pointwise_conv1.weight", 1),
                Piece(f"{name}conv_module.pointwise_conv2.weight", 0))  # fmt: skip


def _positional(config: BigfootConfig) -> Iterator[Piece]:
    name, groups = "encoder.encoder.pos_conv_embed.", config.num_conv_pos_embedding_groups
    stack = [f"layers.{index}.conv" for index in range(config.num_conv_pos_embeddings)]
    convs = stack if config.has_positional_stack else ["conv"]
    plain = config.has_positional_stack or config.conv_pos_batch_norm
    for conv in convs:
        kernel = f"{name}{conv}.weight" if plain else f"{name}{conv}.parametrizations.weight.original1"
        yield from (Piece(kernel, 0), Piece(kernel, 1, groups=groups), Piece(f"{name}{conv}.bias", 0))
    if config.conv_pos_batch_norm:
        stored = ("weight", "bias", "running_mean", "running_var")
        yield from (Piece(f"{name}batch_norm.{tensor}", 0) for tensor in stored)
