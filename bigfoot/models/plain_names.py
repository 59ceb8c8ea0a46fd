"""Names of a layer's tensors that do not depend on its block: conformers have those of transformers where they can."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bigfoot.models.shape import Shape

# Of a conformer's modules, the name there and the name here; the first that fits is taken.
_CONFORMER = {
    "self_attn.linear_q": "attention.q_proj",
    "self_attn.linear_k": "attention.k_proj",
    "self_attn.linear_v": "attention.v_proj",
    "self_attn.linear_out": "attention.out_proj",
    "self_attn_layer_norm": "layer_norm",
    "self_attn": "attention",
    "ffn1_layer_norm": "first_feed_forward_layer_norm",
    "ffn1": "first_feed_forward",
    "ffn2_layer_norm": "feed_forward_layer_norm",
    "ffn2": "feed_forward",
}
_LAYER = re.compile(r"(.*encoder\.layers\.\d+\.)(.*)")
_LINEARS = {
    "q_proj": "attention.q_proj", "k_proj": "attention.k_proj", "v_proj": "attention.v_proj",
    "out_proj": "attention.out_proj", "intermediate_dense": "feed_forward.intermediate_dense",
    "output_dense": "feed_forward.output_dense",
    "first_intermediate_dense": "first_feed_forward.intermediate_dense",
    "first_output_dense": "first_feed_forward.output_dense",
}  # fmt: skip


def plain_path(path: str, config: Shape) -> str:
    """Return the plain name of a module or tensor within a layer.

    Args:
        path: as the layer has it.
        config: the shape.

    Examples:
        >>> plain_path("ffn1.output_dense.bias", Shape(block="conformer"))
        'first_feed_forward.output_dense.bias'
    """
    return _replace(path, _CONFORMER) if config.is_conformer else path


def own_path(plain: str, config: Shape) -> str:
    """Return the name within a layer of a module or tensor by its plain name.

    Examples:
        >>> own_path("attention.q_proj.weight", Shape(block="conformer")), own_path("attention.q_proj", Shape())
        ('self_attn.linear_q.weight', 'attention.q_proj')
    """
    if not config.is_conformer:
        return plain
    return _replace(plain, {here: there for there, here in _CONFORMER.items()})


def plain_name(name: str, config: Shape) -> str:
    """Return the name of a tensor of the encoder with the plain name of its part of a layer.

    Args:
        name: with anything before ``encoder.layers``.
        config: the shape.
    """
    found = _LAYER.fullmatch(name)
    return name if found is None else found[1] + plain_path(found[2], config)


def own_name(name: str, config: Shape) -> str:
    """Return what ``plain_name`` was given."""
    found = _LAYER.fullmatch(name)
    return name if found is None else found[1] + own_path(found[2], config)


def plain_linear(linear: str) -> str:
    """Return the plain path within a layer of one of its linear maps.

    Args:
        linear: a key of ``Shape.linear_shapes``.
    """
    return _LINEARS[linear]


def ranks_by_path(config: Shape, layer: int) -> dict[str, int]:
    """Return the ranks of a layer's linear maps of low rank by their paths within it.

    Args:
        config: the shape.
        layer: 0-based.
    """
    return {own_path(_LINEARS[linear], config): rank for linear, rank in config.ranks_of_layers[layer].items()}


def _replace(path: str, names: Mapping[str, str]) -> str:
    for given, wanted in names.items():
        if path == given or path.startswith(f"{given}."):
            return wanted + path.removeprefix(given)
    return path
