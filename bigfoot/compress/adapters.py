"""Layers without their adapters: what a language added to a multilingual encoder goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bigfoot.compress.change import Change
from bigfoot.compress.registry import technique
from bigfoot.config import Problem
from bigfoot.models.attention_adapter import ADAPTER
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.reshape import load_plain_state, plain_state, reshape_config


@dataclass(frozen=True)
class DropAdapters:
    """Leave out the adapters of all layers (MMS)."""


def _reshape(shape: BigfootConfig, _config: DropAdapters) -> BigfootConfig:
    return reshape_config(shape, adapter_attn_dim=None)


def _check(shape: BigfootConfig, _config: DropAdapters) -> Iterator[Problem]:
    if shape.adapter_attn_dim is None:
        yield Problem("", "no_adapters", "the model has no adapters in its layers")


@technique("drop_adapters", DropAdapters, _reshape, _check)
def apply(model: BigfootForCTC, config: DropAdapters, audio: Sequence[object] = ()) -> tuple[BigfootForCTC, Change]:
    """Build a model without adapters; all else is copied.

    Args:
        model: with adapters, left as it is.
        config: has no fields.
        audio: not read.

    Returns:
        The new model in eval mode, and what was kept and dropped.

    Raises:
        UnfitError: the model has no adapters.

    Examples:
        >>> from bigfoot.models import BigfootConfig, BigfootForCTC
        >>> config = BigfootConfig(hidden_size=16, num_attention_heads=2, num_hidden_layers=2, intermediate_size=32,
        ...                        conv_dim=[8] * 7, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
        ...                        do_stable_layer_norm=True, adapter_attn_dim=4)
        >>> apply(BigfootForCTC(config), DropAdapters())[0].config.adapter_attn_dim is None
        True
    """
    student = BigfootForCTC(_reshape(model.config, config))
    kept = {name: tensor for name, tensor in plain_state(model).items() if f".{ADAPTER}." not in name}
    load_plain_state(student, kept)
    layers = model.config.num_hidden_layers
    return student.eval(), Change("adapters", ["all other weights"], [f"the adapters of {layers} layers"])
