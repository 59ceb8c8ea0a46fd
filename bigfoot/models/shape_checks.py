"""What the fields of a shape must be together, and what transformers' own classes can express."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sized

from bigfoot.models.block_checks import GRANTED, block_problems, count_block_weights
from bigfoot.models.shape import Shape
from bigfoot.models.shape_fields import RULES, field_problems
from bigfoot.models.streaming_checks import unstreamable_parts

_MOST_WEIGHTS = 10**10
UNPROJECTED = ("sew", "sew-d")
"""Families whose class has no feature projection between equal widths."""


def expected_projection(config: Shape) -> str:
    """Return the feature projection that the family's own class has.

    Args:
        config: the shape.
    """
    return "none" if config.family in UNPROJECTED and config.feature_size == config.hidden_size else "linear"


def beyond_huggingface(config: Shape) -> list[str]:
    """Name the parts of a shape that the family's own transformers class cannot express.

    Args:
        config: the shape.

    Returns:
        One phrase a part; empty where transformers can express all of it.
    """
    parts = []
    if any(groups != 1 for groups in config.groups_of_convs):
        parts.append(f"conv_groups {config.groups_of_convs}")
    if config.conv_sharing:
        parts.append(f"conv_sharing {config.conv_sharing}")
    if any(heads != config.num_attention_heads for heads in config.heads_of_layers):
        parts.append(f"attention heads {config.heads_of_layers}")
    if any(width != config.intermediate_size for width in config.widths_of_layers):
        parts.append(f"feed-forward widths {config.widths_of_layers}")
    if any(width != config.intermediate_size for width in config.first_widths_of_layers) and config.is_conformer:
        parts.append(f"first feed-forward widths {config.first_widths_of_layers}")
    if any(channels != config.hidden_size for channels in config.conv_channels_of_layers) and config.is_conformer:
        parts.append(f"convolutions in layers of {config.conv_channels_of_layers} channels")
    if any(layer is not None for layer in config.reused_maps):
        parts.append(f"attention_reuse {config.attention_reuse}")
    if any(config.ranks_of_layers):
        parts.append(f"layer_ranks of layers {[i for i, ranks in enumerate(config.ranks_of_layers) if ranks]}")
    if config.time_reduction != 1:
        parts.append(f"time_reduction {config.time_reduction}")
    if config.feature_projection != expected_projection(config):
        parts.append(f"feature_projection {config.feature_projection!r}")
    if config.has_position_bias and any(heads != sorted(heads) for heads in config.position_heads_of_layers):
        parts.append(f"position heads {config.position_heads_of_layers}")
    if config.frame_encoder is not None:
        parts.append(f"an encoder of the kind {config.frame_encoder['kind']!r}")
    if config.num_prompts:
        parts.append(f"num_prompts {config.num_prompts}")
    if config.streaming is not None:
        parts.append("frames that attend to their chunk and those before it (streaming)")
    if config.lora is not None:
        parts.append("adapters that are kept beside the weights")
    if config.has_int8_weights:
        parts.append(f"{config.precision} weights")
    for name, granted in GRANTED[config.family].items():
        if getattr(config, name) != granted:
            parts.append(f"{name} {getattr(config, name)!r}")
    return parts


def shape_problems(config: Shape) -> list[str]:
    """Explain why a shape cannot be built.

    Args:
        config: the shape.

    Returns:
        One sentence a problem; empty where there is none.
    """
    # In this order: each group relies on the checks of those before it.
    for group in (_value_problems, _part_problems, _weight_problems):
        if problems := list(group(config)):
            return problems
    return []


def _value_problems(config: Shape) -> Iterator[str]:
    names = (*RULES, "decoder", "task", "frame_encoder", "streaming", "lora", "small_weights")
    return field_problems({name: getattr(config, name) for name in names})


def _part_problems(config: Shape) -> Iterator[str]:
    """Convolutions, layers and what joins them, each by itself; of lists of another length no more than that."""
    if blocked := list(block_problems(config)):
        yield from blocked
        return
    if config.streaming is not None:
        yield from unstreamable_parts(config)
    yield from list(_conv_length_problems(config)) or _conv_problems(config)
    if config.hidden_size % config.num_attention_heads:
        yield f"{config.num_attention_heads} heads do not divide hidden_size {config.hidden_size}"
    if config.positional_conv != "none" and config.hidden_size % config.num_conv_pos_embedding_groups:
        groups = config.num_conv_pos_embedding_groups
        yield f"{groups} positional groups do not divide hidden_size {config.hidden_size}"
    if config.has_positional_stack and config.conv_pos_batch_norm:
        yield "conv_pos_batch_norm is for a single positional convolution, conv_pos_kernel_size for several"
    if config.adapter_attn_dim is not None and not config.do_stable_layer_norm:
        yield "adapter_attn_dim is for layers whose norms come first (do_stable_layer_norm)"
    yield from list(_layer_length_problems(config)) or _layer_problems(config)
    if config.decoder is not None and not config.ctc_head:
        yield "decoder: its tokens are numbered by the CTC head, and there is none"
    heads = (config.task or {}).get("pooling_heads", 1)
    if config.hidden_size % heads:
        yield f"task.pooling_heads {heads} do not divide hidden_size {config.hidden_size}"


def _conv_length_problems(config: Shape) -> Iterator[str]:
    convs, kernels, strides = config.num_conv_layers, len(config.conv_kernel), len(config.conv_stride)
    if not kernels == strides == convs:
        yield f"conv_dim, conv_kernel and conv_stride have {convs}, {kernels} and {strides} entries"
    elif len(config.groups_of_convs) != convs:
        yield f"conv_groups has {len(config.groups_of_convs)} entries for {convs} convolutions"


def _layer_length_problems(config: Shape) -> Iterator[str]:
    layers = config.num_hidden_layers
    for name, values in (("heads", config.heads_of_layers), ("feed-forward widths", config.widths_of_layers)):
        if len(values) != layers:
            yield f"{len(values)} {name} for {layers} layers"
    lists: dict[str, Sized] = {"attention_reuse": config.reused_maps, "layer_ranks": config.ranks_of_layers}
    if config.has_position_bias:
        lists["layer_position_heads"] = config.position_heads_of_layers
    for name, entries in lists.items():
        if len(entries) != layers:
            yield f"{name} has {len(entries)} entries for {layers} layers"


def _conv_problems(config: Shape) -> Iterator[str]:
    yield from _group_problems(config)
    yield from _sharing_problems(config)
    if config.feature_projection == "none" and config.feature_size != config.hidden_size:
        given, size = config.feature_size, config.hidden_size
        yield f"feature_projection none: the front end gives {given} features, and hidden_size is {size}"


def _layer_problems(config: Shape) -> Iterator[str]:
    yield from _position_problems(config)
    yield from _reuse_problems(config) or _rank_problems(config)


def _group_problems(config: Shape) -> Iterator[str]:
    for layer, groups in enumerate(config.groups_of_convs):
        channels_in = 1 if layer == 0 else config.conv_dim[layer - 1]
        channels = config.conv_dim[layer]
        if channels_in % groups or channels % groups:
            yield f"conv layer {layer}: {groups} groups do not divide its {channels_in} -> {channels} channels"


def _weight_problems(config: Shape) -> Iterator[str]:
    if (weights := _count_weights(config)) > _MOST_WEIGHTS:
        yield f"it has {weights:.1e} weights, more than the {_MOST_WEIGHTS:.0e} that are built at most"


def _count_weights(config: Shape) -> int:
    """Weights of the large tensors."""
    shapes = (_kernel_shape(config, layer) for layer in range(config.num_conv_layers))
    positions = config.hidden_size // config.num_conv_pos_embedding_groups * config.num_conv_pos_embeddings
    positions *= (config.conv_pos_kernel_size or 1) * (config.positional_conv != "none")
    layers = sum(4 * config.head_dim * heads for heads in config.heads_of_layers)
    layers += 2 * sum(config.widths_of_layers) + 2 * sum(config.first_widths_of_layers)
    layers += 3 * sum(config.conv_channels_of_layers)
    convs = sum(channels_in * channels * width for channels_in, channels, width in shapes)
    reduction = 2 * config.hidden_size * config.time_reduction if config.time_reduction > 1 else 0
    adapters = 2 * config.num_hidden_layers * (config.adapter_attn_dim or 0)
    around = config.feature_size + config.hidden_size * config.squeeze_factor * (config.squeeze_factor > 1)
    own = count_block_weights(config)
    return convs + own + config.hidden_size * (layers + adapters + positions + reduction + around + config.vocab_size)


def _sharing_problems(config: Shape) -> Iterator[str]:
    """Lists that name layers twice or not at all, and layers whose kernels differ in shape."""
    sharing = config.conv_sharing or []
    named = [layer for members in sharing for layer in members]
    outside = sorted({layer for layer in named if not 0 <= layer < config.num_conv_layers})
    if outside:
        yield f"conv_sharing names convolutions {outside}, out of range 0..{config.num_conv_layers - 1}"
        return
    if twice := sorted(layer for layer, count in Counter(named).items() if count > 1):
        yield f"conv_sharing names convolutions {twice} twice"
    for members in sharing:
        if len(members) < 2:
            yield f"conv_sharing {list(members)}: it takes two convolutions to share a kernel"
        if len({_kernel_shape(config, layer) for layer in members}) > 1:
            shapes = "; ".join(f"{layer} has {_describe_kernel(config, layer)}" for layer in members)
            yield f"conv_sharing {list(members)}: only kernels of equal shape can be shared, and {shapes}"


def _position_problems(config: Shape) -> Iterator[str]:
    """Buckets that hold nothing, and heads that have no bias."""
    if config.num_buckets is None:
        return
    if not 1 <= config.num_buckets // 4 < config.max_bucket_distance:
        yield (
            f"num_buckets {config.num_buckets} should be 4 or more, and a quarter of it less than "
            f"max_bucket_distance {config.max_bucket_distance}"
        )
    chosen = zip(config.position_heads_of_layers, config.heads_of_layers, strict=True)
    for layer, (heads, count) in enumerate(chosen):
        fits = len(heads) == len(set(heads)) == count and set(heads) <= set(range(config.num_attention_heads))
        if not fits:
            last = config.num_attention_heads - 1
            yield f"layer {layer}: its {count} heads need as many different heads of the bias, 0 to {last}, not {heads}"


def _reuse_problems(config: Shape) -> list[str]:
    """Layers that use maps of layers that come later, have none, or have other heads."""
    reused, heads, problems = config.reused_maps, config.heads_of_layers, []
    for layer, source in enumerate(reused):
        if source is None:
            continue
        if not 0 <= source < layer:
            problems.append(f"attention_reuse: layer {layer} can use the maps of an earlier layer, not of {source}")
        elif reused[source] is not None:
            problems.append(f"attention_reuse: layer {layer} uses the maps of {source}, which has none of its own")
        elif heads[source] != heads[layer] or not heads[layer]:
            counts = f"{heads[layer]} heads and {source} has {heads[source]}"
            problems.append(f"attention_reuse: layer {layer} uses the maps of {source}, but has {counts}")
    return problems


def _rank_problems(config: Shape) -> list[str]:
    """Ranks of linear maps that are not there, or that are no smaller than the map."""
    problems = []
    for layer, ranks in enumerate(config.ranks_of_layers):
        shapes = config.linear_shapes(layer)
        for name, rank in ranks.items():
            if name not in shapes:
                known = ", ".join(shapes) or "none"
                problems.append(f"layer_ranks: layer {layer} has no {name}; its linear maps are {known}")
            elif rank > min(shapes[name]):
                inputs, outputs = shapes[name]
                what = f"{name} of layer {layer} maps {inputs} to {outputs}"
                problems.append(f"layer_ranks: {what}, so no rank of {rank}")
    return problems


def _kernel_shape(config: Shape, layer: int) -> tuple[int, int, int]:
    """(channels in, channels out, width) of one group's kernel, and so of the whole."""
    channels_in, groups = 1 if layer == 0 else config.conv_dim[layer - 1], config.groups_of_convs[layer]
    return channels_in // groups, config.conv_dim[layer], config.conv_kernel[layer]


def _describe_kernel(config: Shape, layer: int) -> str:
    channels_in, channels, width = _kernel_shape(config, layer)
    return f"{channels_in} -> {channels} channels, kernel {width}"
