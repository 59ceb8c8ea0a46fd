"""What front end, block and positions must be together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bigfoot.models.shape import Shape

_TRANSFORMER: Mapping[str, object] = {
    "squeeze_factor": 1, "front_end": "convolutions", "block": "transformer", "positional_conv": "added",
    "final_norm": True, "position_embeddings_type": None, "feature_layer_norm_eps": None,
}  # fmt: skip
_PLAIN = {
    **_TRANSFORMER, "has_position_bias": False, "has_positional_stack": False, "conv_pos_batch_norm": False,
    "feat_proj_layer_norm": True,
}  # fmt: skip
_BARE = {"adapter_attn_dim": None}
_ENDING = {"add_adapter": False}
_SQUEEZED = {name: value for name, value in (_PLAIN | _BARE | _ENDING | {"do_stable_layer_norm": False}).items()
             if name != "squeeze_factor"}  # fmt: skip
_CONFORMER = {name: value for name, value in (_PLAIN | _BARE).items() if name != "position_embeddings_type"}
_CONFORMER |= {"block": "conformer", "relative_size": None}
GRANTED: Mapping[str, Mapping[str, object]] = {
    "wav2vec2": _PLAIN,
    **dict.fromkeys(("unispeech", "unispeech-sat"), _PLAIN | _BARE | _ENDING),
    "hubert": {**_TRANSFORMER, **_BARE, **_ENDING, "has_position_bias": False, "has_positional_stack": False},
    "wavlm": _PLAIN | _BARE | {"has_position_bias": True},
    "data2vec-audio": _PLAIN | _BARE | {"has_positional_stack": True, "feat_extract_norm": "layer",
                                "do_stable_layer_norm": False},
    "sew": _SQUEEZED,
    "sew-d": {name: value for name, value in _SQUEEZED.items() if name != "feature_layer_norm_eps"} | {
        "final_norm": False, "position_embeddings_type": "disentangled",
    },
    "wav2vec2-conformer": _CONFORMER | {"positional_conv": "unused", "conv_module_norm": "batch",
                                        "conv_module_causal": False},
    "wav2vec2-bert": _CONFORMER | {
        "front_end": "log-mel", "positional_conv": "none", "final_norm": False, "conv_module_norm": "layer",
        "conv_module_causal": True,
    },
}  # fmt: skip
"""Fixed in a family's class of transformers, by our fields and properties."""


def block_problems(config: Shape) -> Iterator[str]:
    """Explain why a front end and a block cannot be built.

    Args:
        config: of which each field by itself is right.

    Yields:
        One sentence a problem.
    """
    yield from _front_end_problems(config)
    if config.add_adapter:
        yield from _adapter_problems(config)
    if config.squeeze_factor > 1:
        yield from _squeeze_problems(config)
    yield from _conformer_problems(config) if config.is_conformer else _transformer_problems(config)


def count_block_weights(config: Shape) -> int:
    """Count the weights of large tensors of conformers, positions and adapters, but for linear maps of blocks.

    Args:
        config: the shape.
    """
    size = config.hidden_size
    if config.is_disentangled:
        own = 0 if config.share_att_key else len(config.pos_att_type) * config.head_dim * sum(config.heads_of_layers)
        return size * (2 * config.position_span + own) * config.relative_attention
    behind = 2 * size * size * config.adapter_kernel_size
    if not config.has_convolutions:
        behind = 2 * behind + 4 * size * size + 2 * size * config.intermediate_size
    behind *= config.num_adapter_layers * config.add_adapter
    if not config.is_conformer:
        return behind
    distances = config.left_max_position_embeddings + config.right_max_position_embeddings
    known = {"relative": config.sinusoid_size * size, "relative_key": distances * config.head_dim}
    positions = known.get(config.position_embeddings_type or "", 0) * config.num_hidden_layers
    kernels = config.conv_depthwise_kernel_size * sum(config.conv_channels_of_layers)
    return positions + kernels + behind


def _front_end_problems(config: Shape) -> Iterator[str]:
    if config.has_convolutions:
        if not config.conv_dim:
            yield "front_end convolutions: conv_dim is an empty list"
        return
    given = {name: getattr(config, name) for name in ("conv_dim", "conv_kernel", "conv_stride", "conv_groups",
                                                      "conv_sharing")}  # fmt: skip
    if named := [name for name, value in given.items() if value]:
        yield f"front_end log-mel has no convolutions, and so no {', '.join(named)}"


def _adapter_problems(config: Shape) -> Iterator[str]:
    if not config.has_convolutions and not config.is_conformer:
        yield "add_adapter: behind a log-mel front end for conformers alone (w2v-BERT 2.0)"
    if config.squeeze_factor > 1:
        yield "add_adapter: not beside squeeze_factor, which spreads frames again"
    if config.has_convolutions and config.use_intermediate_ffn_before_adapter:
        yield "use_intermediate_ffn_before_adapter: behind a log-mel front end alone"
    kernel, stride = config.adapter_kernel_size, config.adapter_stride
    if config.has_convolutions and kernel != 3:
        yield f"adapter_kernel_size {kernel} should be 3: its convolutions are padded by one frame"
    if not config.has_convolutions and (stride // 2 != kernel // 2 or kernel % 2 == 0):
        yield f"adapter_kernel_size {kernel} and adapter_stride {stride}: the kernel should be odd and one frame wider"
    if config.num_prompts or config.decoder is not None or config.time_reduction > 1:
        yield "add_adapter: not beside num_prompts, a decoder or time_reduction, whose frames are others"


def _squeeze_problems(config: Shape) -> Iterator[str]:
    if config.is_conformer or config.do_stable_layer_norm or config.has_positional_stack or config.conv_pos_batch_norm:
        yield (
            f"squeeze_factor {config.squeeze_factor}: for the block transformer with norms last and one positional "
            "convolution with weight norm"
        )
    if config.time_reduction > 1:
        yield f"squeeze_factor {config.squeeze_factor} and time_reduction {config.time_reduction} both join frames"


def _transformer_problems(config: Shape) -> Iterator[str]:
    conformer = () if config.is_disentangled else ("position_embeddings_type",)
    named = (*conformer, "layer_first_intermediate_sizes", "layer_conv_channels")
    if given := [name for name in named if getattr(config, name) is not None]:
        yield f"{', '.join(given)}: for the block conformer alone"
    if config.positional_conv != "added" or not (config.final_norm or config.is_disentangled):
        yield "the block transformer has a positional convolution and a norm"
    if config.is_disentangled:
        yield from _disentangled_problems(config)


def _disentangled_problems(config: Shape) -> Iterator[str]:
    if config.num_buckets is not None:
        yield "num_buckets: a gated position bias is for other positions than disentangled"
    buckets, farthest = config.position_buckets, config.max_position_embeddings
    if buckets > 0 and not 2 <= buckets < 2 * (farthest - 1):
        yield (
            f"position_buckets {buckets} should be 2 or more, and half of it less than max_position_embeddings "
            f"{farthest} - 1"
        )


def _conformer_problems(config: Shape) -> Iterator[str]:
    if config.is_disentangled:
        yield "position_embeddings_type disentangled: for the block transformer alone"
    if config.adapter_attn_dim is not None:
        yield "adapter_attn_dim: for the block transformer alone"
    if config.num_buckets is not None:
        yield "num_buckets: a gated position bias is for the block transformer alone"
    if any(source is not None for source in config.reused_maps):
        yield "attention_reuse: for the block transformer alone"
    if not config.do_stable_layer_norm:
        yield "do_stable_layer_norm should be true: in conformer layers norms come first"
    if config.conv_depthwise_kernel_size % 2 == 0 and not config.conv_module_causal:
        yield f"conv_depthwise_kernel_size {config.conv_depthwise_kernel_size} should be odd, to reach as far both ways"
    sizes = {"relative": ("sinusoid_size", config.sinusoid_size), "rotary": ("a head's width", config.head_dim)}
    what, size = sizes.get(config.position_embeddings_type or "", ("", 0))
    if size % 2:
        yield f"{config.position_embeddings_type} positions come in pairs, and {what} {size} is odd"
    lists = {"layer_first_intermediate_sizes": config.first_widths_of_layers,
             "layer_conv_channels": config.conv_channels_of_layers}  # fmt: skip
    for name, values in lists.items():
        if len(values) != config.num_hidden_layers:
            yield f"{name} has {len(values)} entries for {config.num_hidden_layers} layers"
