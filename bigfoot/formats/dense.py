"""Writing out in full what only our own format can express, with the same outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bigfoot.errors import ModelError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.relative_bias import GATE_FEATURES
from bigfoot.models.reshape import load_plain_state, plain_state, reshape_config, with_small_weights
from bigfoot.models.shape import LINEARS


def densify(model: BigfootForCTC) -> tuple[BigfootForCTC, list[str]]:
    """Build the same function in the shape of the family's own class, as far as zeros and copies can.

    A grouped kernel becomes a dense one with its groups as blocks on the diagonal and zeros elsewhere; convolutions
    that share a kernel get copies of their own; feed-forward layers and attention are filled up with zeros to the
    widest, where there were none too; factors of a low rank are multiplied; a missing projection becomes an identity;
    quantized weights become fp32 ones of the same values.
    The size and the work are then those of the dense shape.

    Args:
        model: left as it is.

    Returns:
        The new model in eval mode, and a sentence about each part that grew.

    Raises:
        ModelError: a layer has more heads than its width has room for, or uses another's attention maps, or time is
            reduced, or layers compute in int8, which no dense shape can do.

    Examples:
        >>> config = BigfootConfig(hidden_size=16, num_attention_heads=2, num_hidden_layers=2, intermediate_size=32,
        ...                        conv_dim=[8] * 7, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
        ...                        conv_groups=[1, 2, 2, 2, 2, 2, 2])
        >>> dense, changes = densify(BigfootForCTC(config))
        >>> dense.config.is_huggingface_shape, changes
        (True, ['conv_groups [1, 2, 2, 2, 2, 2, 2] written as dense kernels with zeros'])
    """
    model, written = _write_out_weights(model)
    old, state = model.config, plain_state(model)
    _check_expressible(old)
    changes = written + _write_out_blocks(state, old)
    if any(groups != 1 for groups in old.groups_of_convs):
        changes.append(f"conv_groups {old.groups_of_convs} written as dense kernels with zeros")
        for layer, groups in enumerate(old.groups_of_convs):
            name = f"encoder.feature_extractor.conv_layers.{layer}.conv.weight"
            state[name] = expand_groups(state[name], groups)
    if old.conv_sharing:
        changes.append(f"conv_sharing {old.conv_sharing} written as one kernel a convolution")
    if old.feature_projection == "none":
        changes.append("a missing feature projection written as an identity")
        name = "encoder.feature_projection.projection."
        state |= {f"{name}weight": torch.eye(old.hidden_size), f"{name}bias": torch.zeros(old.hidden_size)}
    widest = max([old.intermediate_size, *old.widths_of_layers])
    if any(width != widest for width in old.widths_of_layers):
        changes.append(f"feed-forward widths {old.widths_of_layers} filled up with zeros to {widest}")
        _widen_feed_forward(state, old, widest)
    if max(old.heads_of_layers) > old.num_attention_heads:
        raise ModelError(f"attention heads {old.heads_of_layers} do not fit into {old.num_attention_heads} a layer")
    everyone = list(range(old.num_attention_heads))
    if any(heads != everyone for heads in old.position_heads_of_layers):
        changes.append(f"attention heads {old.heads_of_layers} filled up with zeros to {old.num_attention_heads}")
        _fill_heads(state, old)
    shape = dense_shape(old)
    assert shape is not None, "what cannot be written out was refused above"
    dense = BigfootForCTC(shape)
    load_plain_state(dense, state)
    return dense.eval(), changes


def dense_shape(config: BigfootConfig) -> BigfootConfig | None:
    """Return the shape of ``densify``'s result.

    Args:
        config: the shape before.

    Returns:
        None where it cannot be written out.

    Examples:
        >>> dense_shape(BigfootConfig(conv_groups=[1, 2, 2, 2, 2, 2, 2])).conv_groups is None
        True
        >>> dense_shape(BigfootConfig(time_reduction=2)) is None
        True
    """
    computes = config.small is not None and config.small.computes_int8
    reuses = any(source is not None for source in config.reused_maps)
    if (config.is_conformer or config.squeeze_factor > 1) and not config.is_huggingface_shape:
        return None
    if computes or reuses or config.time_reduction > 1 or max(config.heads_of_layers) > config.num_attention_heads:
        return None
    widest = max([config.intermediate_size, *config.widths_of_layers])
    return reshape_config(
        config, conv_groups=None, conv_sharing=None, intermediate_size=widest, layer_intermediate_sizes=None,
        layer_num_attention_heads=None, layer_position_heads=None, layer_ranks=None, feature_projection="linear",
        small_weights=None,
    )  # fmt: skip


def advise_format(config: BigfootConfig, parts_beyond: Callable[[BigfootConfig], Sequence[str]]) -> str:
    """Advise on a shape that a format cannot express.

    Args:
        config: the shape.
        parts_beyond: names the parts of a shape that the format cannot express.

    Returns:
        Advice that helps with this shape.

    Examples:
        >>> advise_format(BigfootConfig(time_reduction=2), lambda _: ["time_reduction"])
        'keep the bigfoot format'
    """
    dense = dense_shape(config)
    if dense is None or parts_beyond(dense):
        return "keep the bigfoot format"
    return "write it out in full (bigfoot convert --densify), or keep the bigfoot format"


def _write_out_weights(model: BigfootForCTC) -> tuple[BigfootForCTC, list[str]]:
    """Return a model with fp32 weights of the same values."""
    small = model.config.small
    if small is None:
        return model, []
    if small.computes_int8:
        raise ModelError(
            f"{small.precision}: the input of its layers is quantized to int8, which no other format can express; "
            "bigfoot export writes it for ONNX Runtime, bigfoot quantize MODEL OUT --precision float32 brings it back"
        )
    return with_small_weights(model, None), [f"{small.precision} weights written as fp32"]


def _check_expressible(config: BigfootConfig) -> None:
    if (config.is_conformer or config.squeeze_factor > 1) and not config.is_huggingface_shape:
        raise ModelError(f"the layers of this {config.family} cannot be written out; keep the bigfoot format")
    if config.streaming is not None:
        raise ModelError("streaming: no dense shape attends chunk by chunk; bigfoot export --to streaming writes it")
    if any(source is not None for source in config.reused_maps):
        reuse = f"attention_reuse {config.attention_reuse}"
        raise ModelError(f"{reuse}: another layer's maps cannot be written out as queries and keys")
    if config.time_reduction > 1:
        reduction = f"time_reduction {config.time_reduction}"
        raise ModelError(f"{reduction} cannot be written out: no dense shape has fewer frames")


def _write_out_blocks(state: dict[str, Tensor], config: BigfootConfig) -> list[str]:
    """Multiply factors, and give blocks that are not there the tensors of blocks without any heads or width."""
    changes = []
    if any(config.ranks_of_layers):
        changes.append("low ranks written as whole matrices")
        for layer, ranks in enumerate(config.ranks_of_layers):
            for linear in ranks:
                part = "feed_forward" if linear.endswith("dense") else "attention"
                name = f"encoder.encoder.layers.{layer}.{part}.{linear}."
                down, up, bias = (state.pop(f"{name}{each}") for each in ("down.weight", "up.weight", "up.bias"))
                state |= {f"{name}weight": up @ down, f"{name}bias": bias}
    for layer, (heads, width) in enumerate(zip(config.heads_of_layers, config.widths_of_layers, strict=True)):
        missing = ([] if heads else ["attention"]) + ([] if width else ["feed_forward"])
        if missing:
            changes.append(f"missing blocks of layer {layer} written as zeros: {', '.join(missing)}")
        for part in missing:
            state |= _silent_block(config, layer, part)
    if config.has_position_bias and config.position_table_layer is None:
        state["encoder.encoder.position_bias.weight"] = torch.zeros(config.num_buckets or 0, config.num_attention_heads)
    return changes


def _silent_block(config: BigfootConfig, layer: int, part: str) -> dict[str, Tensor]:
    """Tensors of a block without heads or width, whose output is zero."""
    name, size = f"encoder.encoder.layers.{layer}.", config.hidden_size
    linears = LINEARS[:4] if part == "attention" else LINEARS[4:]
    made: dict[str, Tensor] = {}
    for linear in linears:
        shape = (size, 0) if linear in ("out_proj", "output_dense") else (0, size)
        made |= {f"{name}{part}.{linear}.weight": torch.zeros(shape),
                 f"{name}{part}.{linear}.bias": torch.zeros(shape[0])}  # fmt: skip
    if part == "attention" and config.has_position_bias:
        gate, features = f"{name}attention.gru_rel_pos_", 2 * GATE_FEATURES
        weight = torch.zeros(features, config.head_dim)
        made |= {f"{gate}const": torch.zeros(1, 0, 1, 1), f"{gate}linear.weight": weight,
                 f"{gate}linear.bias": torch.zeros(features)}  # fmt: skip
    if config.do_stable_layer_norm:
        norm = f"{name}{'layer_norm' if part == 'attention' else 'final_layer_norm'}."
        made |= {f"{norm}weight": torch.ones(size), f"{norm}bias": torch.zeros(size)}
    return made


def expand_groups(kernel: Tensor, groups: int) -> Tensor:
    """Return a grouped kernel as a dense one: its groups as blocks on the diagonal, zeros elsewhere.

    Args:
        kernel: (C_out, C_in / groups, K).
        groups: of the convolution.

    Returns:
        (C_out, C_in, K).

    Examples:
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
        # Whatever the activation maps zero to, the output layer's zeros cancel it.
        state[f"{name}output_dense.weight"] = _pad(state[f"{name}output_dense.weight"], 1, width)


def _fill_heads(state: dict[str, Tensor], config: BigfootConfig) -> None:
    """Put every head where its position bias has it, and heads of zeros, which have no effect, where there is none."""
    width = config.num_attention_heads * config.head_dim
    for layer, heads in enumerate(config.position_heads_of_layers):
        name = f"encoder.encoder.layers.{layer}.attention."
        places = torch.arange(width).view(config.num_attention_heads, -1)[heads]
        spread = {f"{projection}_proj.{kind}": 0 for projection in "qkv" for kind in ("weight", "bias")}
        for tensor, dim in (spread | {"out_proj.weight": 1}).items():
            state[name + tensor] = _spread(state[name + tensor], dim, places.flatten(), width)
        if config.has_position_bias:
            gate = state[f"{name}gru_rel_pos_const"]
            own = torch.tensor(heads, dtype=torch.long)
            state[f"{name}gru_rel_pos_const"] = _spread(gate, 1, own, config.num_attention_heads)


def _pad(tensor: Tensor, dim: int, size: int) -> Tensor:
    return _spread(tensor, dim, torch.arange(tensor.shape[dim]), size)


def _spread(tensor: Tensor, dim: int, places: Tensor, size: int) -> Tensor:
    """Place the slices of a tensor in a longer one of zeros."""
    shape = [*tensor.shape]
    shape[dim] = size
    return tensor.new_zeros(shape).index_copy(dim, places, tensor)
