"""Names of tensors in fairseq's encoders, and in those of Microsoft's (UniSpeech, WavLM) and ASAPP's (SEW) forks."""

from __future__ import annotations

from collections.abc import Iterator

from bigfoot.models.attention_adapter import ADAPTER
from bigfoot.models.configuration import BigfootConfig

LINEAR = ("weight", "bias")
"""Parts of a linear map and of a norm."""
PRETRAINING = (
    "quantizer.", "project_q.", "final_proj.", "target_glu.", "label_embs_concat", "input_quantizer.", "_ema",
    "spk_proj.", "encoder.layer_norm_for_extract.",
)  # fmt: skip
"""Starts of the names of what is there for pre-training alone."""

_RUNNING = ("running_mean", "running_var", "num_batches_tracked")
_PROJECTION = {"feature_projection.projection": "post_extract_proj"}
_LAYER_PARTS = {
    "attention.k_proj": "self_attn.k_proj",
    "attention.v_proj": "self_attn.v_proj",
    "attention.q_proj": "self_attn.q_proj",
    "attention.out_proj": "self_attn.out_proj",
    "layer_norm": "self_attn_layer_norm",
    "feed_forward.intermediate_dense": "fc1",
    "feed_forward.output_dense": "fc2",
    "final_layer_norm": "final_layer_norm",
}
# Microsoft's DeBERTa, as SEW-D has it within its encoder.
_DEBERTA_PARTS = {
    "attention.q_proj": "attention.self.query_proj",
    "attention.k_proj": "attention.self.key_proj",
    "attention.v_proj": "attention.self.value_proj",
    "attention.out_proj": "attention.output.dense",
    "layer_norm": "attention.output.LayerNorm",
    "feed_forward.intermediate_dense": "intermediate.dense",
    "feed_forward.output_dense": "output.dense",
    "final_layer_norm": "output.LayerNorm",
}
# Each holds those of several adapters, one after the other.
_ADAPTER_PARTS = {
    "norm.weight": "ln_W", "norm.bias": "ln_b", "linear_1.weight": "W_a", "linear_1.bias": "b_a",
    "linear_2.weight": "W_b", "linear_2.bias": "b_b",
}  # fmt: skip


def tensor_names(config: BigfootConfig) -> Iterator[tuple[str, str]]:
    """Return every tensor of an encoder as (our name without its prefix, fairseq's without its).

    Args:
        config: the shape.
    """
    yield "masked_spec_embed", "mask_emb"
    yield from _pairs("feature_projection.layer_norm", "layer_norm")
    for ours, theirs in _PROJECTION.items() if config.feature_projection == "linear" else ():
        yield from _pairs(ours, theirs)
    if config.final_norm:
        yield from _pairs("encoder.layer_norm", "encoder.layer_norm")
    if config.squeeze_factor > 1:
        yield from _pairs("encoder.upsample.projection", "encoder.upsample.0")
    yield from _conv_names(config)
    yield from _positional_names(config)
    for index in range(config.num_hidden_layers):
        yield from _layer_names(config, index)


def _pairs(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    yield from ((f"{ours}.{kind}", f"{theirs}.{kind}") for kind in LINEAR)


def _layer_names(config: BigfootConfig, index: int) -> Iterator[tuple[str, str]]:
    layer = f"encoder.layers.{index}."
    if config.family == "sew-d":
        for ours, theirs in _DEBERTA_PARTS.items():
            yield from _pairs(f"{layer}{ours}", f"encoder.encoder.layer.{index}.{theirs}")
        return
    for ours, theirs in _LAYER_PARTS.items():
        yield from _pairs(f"{layer}{ours}", f"{layer}{theirs}")
    if config.has_position_bias:
        yield from _bias_names(layer, first=index == 0)
    if config.adapter_attn_dim is not None:
        for ours, theirs in _ADAPTER_PARTS.items():
            yield f"{layer}{ADAPTER}.{ours}", f"{layer}{ADAPTER}.{theirs}"


def _conv_names(config: BigfootConfig) -> Iterator[tuple[str, str]]:
    # A block there is convolution, dropout, norm, GELU; a layer norm lies between two transpositions.
    norm = ".2.1" if config.feat_extract_norm == "layer" else ".2"
    for index in range(config.num_conv_layers):
        layer = f"feature_extractor.conv_layers.{index}"
        yield f"{layer}.conv.weight", f"{layer}.0.weight"
        if config.conv_bias:
            yield f"{layer}.conv.bias", f"{layer}.0.bias"
        if config.feat_extract_norm == "layer" or index == 0:
            yield from _pairs(f"{layer}.layer_norm", f"{layer}{norm}")


def _positional_names(config: BigfootConfig) -> Iterator[tuple[str, str]]:
    if config.has_positional_stack:
        for index in range(config.num_conv_pos_embeddings):
            yield from _pairs(f"encoder.pos_conv_embed.layers.{index}.conv", f"encoder.pos_conv.{index}.0")
        return
    ours, theirs = "encoder.pos_conv_embed.conv", "encoder.pos_conv.0"
    if config.conv_pos_batch_norm:
        for kind in (*LINEAR, *_RUNNING):
            yield f"encoder.pos_conv_embed.batch_norm.{kind}", f"{theirs}.{kind}"
        yield from _pairs(ours, "encoder.pos_conv.1")
        return
    yield f"{ours}.parametrizations.weight.original0", f"{theirs}.weight_g"
    yield f"{ours}.parametrizations.weight.original1", f"{theirs}.weight_v"
    yield f"{ours}.bias", f"{theirs}.bias"
    if config.family == "sew-d":
        yield "encoder.position_table.embeddings.weight", "encoder.encoder.rel_embeddings.weight"
        if config.norm_rel_ebd == "layer_norm":
            yield from _pairs("encoder.position_table.layer_norm", "encoder.encoder.LayerNorm")


def _bias_names(layer: str, first: bool) -> Iterator[tuple[str, str]]:
    if first:
        yield f"{layer}attention.rel_attn_embed.weight", f"{layer}self_attn.relative_attention_bias.weight"
    yield from _pairs(f"{layer}attention.gru_rel_pos_linear", f"{layer}self_attn.grep_linear")
    yield f"{layer}attention.gru_rel_pos_const", f"{layer}self_attn.grep_a"


def is_of_adapter(name: str) -> bool:
    """Return whether a tensor, by fairseq's name, holds a part of a layer's adapters.

    Examples:
        >>> is_of_adapter("encoder.layers.3.adapter_layer.W_a")
        True
    """
    return f".{ADAPTER}." in name
