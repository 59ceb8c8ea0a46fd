"""Writing out in full what only our own format can say, with the same answers."""

from __future__ import annotations

import torch
from torch import Tensor

from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.reshape import load_plain_state, plain_state, reshape_config


def densify(model: BigfootForCTC) -> tuple[BigfootForCTC, list[str]]:
    """Build the same function in the shape of the family's own class, as far as zeros and copies can.

    A grouped kernel becomes a dense one with its groups as blocks on the diagonal and zeros elsewhere; convolutions
    that share a kernel get copies of their own; feed-forward layers and attention are filled up with zeros to the
    widest. The size and the work are then those of the dense shape.

    Args:
        model: left as it is.

    Returns:
        The new model in eval mode, and a sentence about each part that grew.

    Example:
        >>> config = BigfootConfig(hidden_size=16, num_attention_heads=2, num_hidden_layers=2, intermediate_size=32,
        ...                        conv_dim=[8] * 7, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
        ...                        conv_groups=[1, 2, 2, 2, 2, 2, 2])
        >>> dense, changes = densify(BigfootForCTC(config))
        >>> dense.config.is_huggingface_shape, changes
        (True, ['conv_groups [1, 2, 2, 2, 2, 2, 2] written as dense kernels with zeros'])
    """
    old, state = model.config, plain_state(model)
    changes = []
    if any(groups != 1 for groups in old.groups_of_convs):
        changes.append(f"conv_groups {old.groups_of_convs} written as dense kernels with zeros")
        for layer, groups in enumerate(old.groups_of_convs):
            name = f"encoder.feature_extractor.conv_layers.{layer}.conv.weight"
            state[name] = expand_groups(state[name], groups)
    if old.conv_sharing:
        changes.append(f"conv_sharing {old.conv_sharing} written as one kernel a convolution")
    widest = max([old.intermediate_size, *old.widths_of_layers])
    if any(width != widest for width in old.widths_of_layers):
        changes.append(f"feed-forward widths {old.widths_of_layers} filled up with zeros to {widest}")
        _widen_feed_forward(state, old, widest)
    if any(heads != old.num_attention_heads for heads in old.heads_of_layers) and _can_fill_heads(old):
        changes.append(f"attention heads {old.heads_of_layers} filled up with zeros to {old.num_attention_heads}")
        _fill_heads(state, old)
    heads = None if _can_fill_heads(old) else old.layer_num_attention_heads
    shape = reshape_config(
        old, conv_groups=None, conv_sharing=None, intermediate_size=widest, layer_intermediate_sizes=None,
        layer_num_attention_heads=heads,
    )  # fmt: skip
    dense = BigfootForCTC(shape)
    load_plain_state(dense, state)
    return dense.eval(), changes


def expand_groups(kernel: Tensor, groups: int) -> Tensor:
    """A grouped kernel as a dense one: its groups as blocks on the diagonal, zeros elsewhere.

    Args:
        kernel: (C_out, C_in / groups, K).
        groups: of the convolution.

    Returns:
        (C_out, C_in, K).

    Example:
        >>> expand_groups(torch.tensor([[[1.0]], [[2.0]]]), 2)[..., 0].tolist()
        [[1.0, 0.0], [0.0, 2.0]]
    """
    channels, inputs, width = kernel.shape
    dense = kernel.new_zeros(channels, inputs * groups, width)
    for group, block in enumerate(kernel.chunk(groups)):
        rows = slice(group * (channels // groups), (group + 1) * (channels // groups))
        dense[rows, group * inputs : (group + 1) * inputs] = block
    return dense


def _widen_feed_forward(state: dict[str, Tensor], config: BigfootConfig, width: int) -> None:
    for layer in range(config.num_hidden_layers):
        name = f"encoder.encoder.layers.{layer}.feed_forward."
        for kind in ("weight", "bias"):
            state[f"{name}intermediate_dense.{kind}"] = _pad(state[f"{name}intermediate_dense.{kind}"], 0, width)
        # Whatever the activation makes of a zero, the output layer's zeros take no notice of it.
        state[f"{name}output_dense.weight"] = _pad(state[f"{name}output_dense.weight"], 1, width)


def _fill_heads(state: dict[str, Tensor], config: BigfootConfig) -> None:
    width = config.num_attention_heads * config.head_dim
    for layer in range(config.num_hidden_layers):
        name = f"encoder.encoder.layers.{layer}.attention."
        for projection in ("q_proj", "k_proj", "v_proj"):
            for kind in ("weight", "bias"):
                state[f"{name}{projection}.{kind}"] = _pad(state[f"{name}{projection}.{kind}"], 0, width)
        state[f"{name}out_proj.weight"] = _pad(state[f"{name}out_proj.weight"], 1, width)


def _can_fill_heads(config: BigfootConfig) -> bool:
    """Where a position bias names its heads, the added ones would need a bias of their own."""
    named = getattr(config, "num_buckets", None) is not None
    return not named and max(config.heads_of_layers) <= config.num_attention_heads


def _pad(tensor: Tensor, dim: int, size: int) -> Tensor:
    missing = list(tensor.shape)
    missing[dim] = size - missing[dim]
    return torch.cat([tensor, tensor.new_zeros(missing)], dim)
