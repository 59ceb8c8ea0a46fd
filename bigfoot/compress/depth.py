"""Fewer transformer layers: choose which stay, and copy all else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from bigfoot.compress.change import Change
from bigfoot.compress.registry import technique
from bigfoot.compress.settings import LAYER_INITS
from bigfoot.config import Problem
from bigfoot.errors import UnfitError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.reshape import load_plain_state, plain_state, reshape_config

_LAYER_WEIGHTS = ("decoder.streams.layer_weights", "task_head.layer_weights")
_T = TypeVar("_T")
_LAYER = re.compile(r"encoder\.encoder\.layers\.(\d+)\.")


@dataclass(frozen=True)
class Depth:
    """Which layers stay.

    Args:
        num_hidden_layers: how many, 1 to the model's own.
        layer_init: ``first_k``, ``last_k``, ``every_k``, ``spread``, or a list of 0-based layers.
    """

    num_hidden_layers: int
    layer_init: str | Sequence[int] = "spread"


def choose_layers(num_layers: int, keep: int, layer_init: str | Sequence[int]) -> list[int]:
    """Choose the layers that stay.

    ``every_k`` takes each (num_layers // keep)-th from 0, as the Knowledge-Distillation-Toolkit does, which leaves the
    last layer out; ``spread`` spaces them evenly with both ends kept, as Distil-Whisper does (Gandhi et al., 2023,
    section 3).

    Args:
        num_layers: layers of the model.
        keep: layers that stay.
        layer_init: rule, or the layers themselves.

    Returns:
        0-based layers in the order in which they will stand.

    Raises:
        UnfitError: more layers than there are, an unknown rule, a layer out of range, or a list of another length.

    Examples:
        >>> choose_layers(12, 4, "spread"), choose_layers(12, 4, "every_k")
        ([0, 4, 7, 11], [0, 3, 6, 9])
    """
    if not 1 <= keep <= num_layers:
        message = f"{keep} layers out of range: the model has {num_layers}"
        raise UnfitError(Problem("num_hidden_layers", "bad_layers", message))
    if not isinstance(layer_init, str):
        return _checked_list(num_layers, keep, layer_init)
    if layer_init == "first_k":
        return list(range(keep))
    if layer_init == "last_k":
        return list(range(num_layers - keep, num_layers))
    if layer_init == "every_k":
        return list(range(0, num_layers, num_layers // keep))[:keep]
    if layer_init == "spread":
        # The last layer matters most to the head, so it is the one that a single-layer student keeps.
        return [round(i * (num_layers - 1) / max(1, keep - 1)) for i in range(keep)] if keep > 1 else [num_layers - 1]
    raise _unfit(f"{layer_init!r} is none of {', '.join(LAYER_INITS)}, nor a list of layers")


def _checked_list(num_layers: int, keep: int, layers: Sequence[int]) -> list[int]:
    if not isinstance(layers, Sequence) or not all(isinstance(i, int) and not isinstance(i, bool) for i in layers):
        raise _unfit(f"{layers!r} should hold whole numbers")
    # -1 is refused rather than read as "the last": another toolkit silently copies nothing for it.
    outside = [layer for layer in layers if not 0 <= layer < num_layers]
    if outside:
        raise _unfit(f"names layers {outside}, out of range 0..{num_layers - 1}")
    if len(layers) != keep:
        raise _unfit(f"lists {len(layers)} layers, num_hidden_layers is {keep}")
    return list(layers)


def _unfit(message: str) -> UnfitError:
    return UnfitError(Problem("layer_init", "bad_layers", message))


def shrink_shape(config: BigfootConfig, layers: Sequence[int]) -> BigfootConfig:
    """Return the shape with some layers only.

    Args:
        config: the model's shape.
        layers: 0-based, in the order in which they will stand.

    Raises:
        UnfitError: a layer uses the attention maps of one that does not come before it any more.

    Examples:
        >>> shrink_shape(BigfootConfig(attention_reuse=[None, 0] * 6), [0, 1, 0, 1]).attention_reuse
        [None, 0, None, 2]
    """

    def pick(values: list[_T] | None) -> list[_T] | None:
        return None if values is None else [values[layer] for layer in layers]

    return reshape_config(
        config,
        num_hidden_layers=len(layers),
        layer_num_attention_heads=pick(config.layer_num_attention_heads),
        layer_intermediate_sizes=pick(config.layer_intermediate_sizes),
        layer_first_intermediate_sizes=pick(config.layer_first_intermediate_sizes),
        layer_conv_channels=pick(config.layer_conv_channels),
        layer_position_heads=pick(config.layer_position_heads),
        layer_ranks=pick(config.layer_ranks),
        attention_reuse=None if config.attention_reuse is None else _moved_reuse(config.reused_maps, layers),
    )


def _moved_reuse(reused: Sequence[int | None], layers: Sequence[int]) -> list[int | None]:
    moved: list[int | None] = []
    for new, layer in enumerate(layers):
        source = reused[layer]
        # Of a layer that stands there twice, the nearer.
        places = [place for place in range(new) if layers[place] == source]
        if source is not None and not places:
            raise _unfit(
                f"layer {layer} uses the attention maps of layer {source}, which does not come before it in "
                f"{[*layers]}; list both"
            )
        moved.append(places[-1] if source is not None else None)
    return moved


def _reshape(shape: BigfootConfig, config: Depth) -> BigfootConfig:
    return shrink_shape(shape, choose_layers(shape.num_hidden_layers, config.num_hidden_layers, config.layer_init))


def take_layers(state: Mapping[str, Tensor], layers: Sequence[int], shape: BigfootConfig) -> dict[str, Tensor]:
    """Take layers out of the tensors of a model, and number them anew; gradients flow through it.

    Args:
        state: as ``plain_state`` names it; left as it is.
        layers: 0-based, in their new order.
        shape: see ``shrink_shape``.

    Returns:
        The tensors of the shallower model.
    """
    there = dict(state)
    if shape.position_table_layer is None:
        there.pop("encoder.encoder.position_bias.weight", None)
    moved = {name: tensor for name, tensor in there.items() if not _LAYER.match(name)}
    for name, tensor in there.items():
        found = _LAYER.match(name)
        for new in (i for i, layer in enumerate(layers) if found and layer == int(found[1])):
            moved[f"encoder.encoder.layers.{new}.{name[found.end():]}"] = tensor  # type: ignore[union-attr]
    for name in set(_LAYER_WEIGHTS) & moved.keys():
        # Weights of hidden states, the encoder's input first.
        moved[name] = moved[name][[0, *(layer + 1 for layer in layers)]]
    return moved


@technique("depth", Depth, _reshape)
def apply(model: BigfootForCTC, config: Depth, audio: Sequence[object] = ()) -> tuple[BigfootForCTC, Change]:
    """Build a shallower model; positional convolution, norms, projection, convolutions and head come along.

    Args:
        model: left as it is.
        config: which layers stay.
        audio: not read.

    Returns:
        The new model in eval mode, and what was kept and dropped.

    Raises:
        UnfitError: see ``choose_layers`` and ``shrink_shape``.
    """
    old = model.config
    layers = choose_layers(old.num_hidden_layers, config.num_hidden_layers, config.layer_init)
    student = BigfootForCTC(shrink_shape(old, layers))
    moved = take_layers(plain_state(model), layers, student.config)
    load_plain_state(student, moved)
    dropped = [layer for layer in range(old.num_hidden_layers) if layer not in layers]
    kept = [f"layers {layers} of {old.num_hidden_layers}", "positional convolution, norms, projection and head"]
    return student.eval(), Change("depth", kept, [f"layers {dropped}"] if dropped else [])
