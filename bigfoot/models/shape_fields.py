"""What each field of a shape may hold, alone; ``shape_checks`` checks them together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

from bigfoot.models.block_shape import FRONT_ENDS, LAYER_BLOCKS, POSITIONS, PRODUCTS
from bigfoot.models.decoders.shape import decoder_problems
from bigfoot.models.frames.fields import frame_encoder_problems
from bigfoot.models.lora import lora_problems
from bigfoot.models.shape import FAMILY_PREFIXES, Shape
from bigfoot.models.small_weights import small_weight_problems
from bigfoot.models.streaming_shape import streaming_problems
from bigfoot.models.tasks.shape import task_problems
from bigfoot.text.json_fields import Flag, OneOf, Rule, Share, Whole, Wholes, find_problems, is_whole, quote

MOST_LAYERS, MOST_TOKENS, MOST_CONVS = 1_000, 1_000_000, 64
"""Far beyond what is ever trained, so that a config.json cannot fill the memory before its weights are checked."""


@dataclass(frozen=True)
class _TokenIds:
    """A token's id, a list of them, or null."""

    def problem(self, name: str, value: object) -> str | None:
        ids = value if isinstance(value, list) else [] if value is None else [value]
        if len(ids) <= MOST_LAYERS and all(_is_token_id(each) for each in ids):
            return None
        return f"{name} {quote(value)} should be a token's id, a list of them, or nothing"


@dataclass(frozen=True)
class _OrNothing:
    """What a rule allows, or null.

    Args:
        rule: the rule.
    """

    rule: Rule

    def problem(self, name: str, value: object) -> str | None:
        return None if value is None else self.rule.problem(name, value)


@dataclass(frozen=True)
class _Words:
    """A list of some of several words, each once.

    Args:
        words: the words.
    """

    words: tuple[str, ...]

    def problem(self, name: str, value: object) -> str | None:
        given = list(value) if isinstance(value, list | tuple) and len(value) <= len(self.words) else [None]
        if all(isinstance(each, str) and each in self.words for each in given) and len({*given}) == len(given):
            return None
        return f"{name} {quote(value)} should list some of {', '.join(self.words)}, each once"


@dataclass(frozen=True)
class _ReusedLayers:
    """For each layer an earlier one or null, or null for all."""

    def problem(self, name: str, value: object) -> str | None:
        if value is None or (isinstance(value, list | tuple) and all(each is None or is_whole(each) for each in value)):
            return None
        return f"{name} {quote(value)} should list a 0-based layer or null for each layer, such as [null, 0]"


@dataclass(frozen=True)
class _LayerRanks:
    """For each layer ranks by name, or null for all."""

    def problem(self, name: str, value: object) -> str | None:
        listed = isinstance(value, list | tuple) and all(
            isinstance(each, dict) and all(is_whole(rank, 1) for rank in each.values()) for each in value
        )
        if value is None or listed:
            return None
        return f"{name} {quote(value)} should list ranks by name for each layer, such as [{{v_proj: 64}}, {{}}]"


@dataclass(frozen=True)
class _ListsOf:
    """Lists of 0-based numbers, or null.

    Args:
        things: what is numbered.
        example: such a value.
    """

    things: str
    example: str

    def problem(self, name: str, value: object) -> str | None:
        listed = isinstance(value, list | tuple) and all(
            isinstance(each, list | tuple) and all(is_whole(index, -MOST_TOKENS) for index in each) for each in value
        )
        if value is None or listed:
            return None
        return f"{name} {quote(value)} should list lists of 0-based {self.things}, such as {self.example}"


def _is_token_id(value: object) -> bool:
    # Some libraries write -1 for a token that there is not.
    return isinstance(value, int) and not isinstance(value, bool) and -1 <= value <= MOST_TOKENS


_CONVS, _LAYERS = Wholes(longest=MOST_CONVS, may_be_empty=True), Wholes(least=0, longest=MOST_LAYERS, optional=True)

RULES: Mapping[str, Rule] = {
    "family": OneOf(tuple(FAMILY_PREFIXES)),
    "vocab_size": Whole(most=MOST_TOKENS),
    "num_hidden_layers": Whole(most=MOST_LAYERS),
    **dict.fromkeys(("time_reduction", "squeeze_factor"), Whole(most=64)),
    "num_prompts": Whole(least=0, most=10_000),
    **dict.fromkeys(
        ("hidden_size", "num_attention_heads", "intermediate_size", "num_conv_pos_embeddings",
         "num_conv_pos_embedding_groups", "max_bucket_distance", "mask_time_length", "mask_feature_length"),
        Whole(),
    ),
    **dict.fromkeys(("num_buckets", "conv_pos_kernel_size", "adapter_attn_dim"), Whole(optional=True)),
    **dict.fromkeys(("mask_time_min_masks", "mask_feature_min_masks"), Whole(least=0)),
    **dict.fromkeys(
        ("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout", "final_dropout",
         "layerdrop", "conformer_conv_dropout", "mask_time_prob", "mask_feature_prob", "layer_norm_eps",
         "initializer_range"),
        Share(),
    ),
    **dict.fromkeys(
        ("conv_bias", "conv_pos_batch_norm", "feat_proj_layer_norm", "do_stable_layer_norm", "apply_spec_augment",
         "ctc_zero_infinity", "ctc_head", "final_norm", "conv_module_causal", "add_adapter",
         "use_intermediate_ffn_before_adapter", "share_att_key", "relative_attention"),
        Flag(),
    ),
    **dict.fromkeys(("conv_dim", "conv_stride", "conv_kernel"), _CONVS),
    "conv_groups": Wholes(longest=MOST_CONVS, optional=True),
    # 0 means that the layer has no such block.
    **dict.fromkeys(
        ("layer_num_attention_heads", "layer_intermediate_sizes", "layer_first_intermediate_sizes",
         "layer_conv_channels"),
        _LAYERS,
    ),
    "front_end": OneOf(FRONT_ENDS),
    "block": OneOf(LAYER_BLOCKS),
    "position_embeddings_type": _OrNothing(OneOf(POSITIONS)),
    "position_buckets": Whole(least=-1, most=2**16),
    "max_position_embeddings": Whole(most=2**16),
    "pos_att_type": _Words(PRODUCTS),
    "norm_rel_ebd": OneOf(("layer_norm", "none")),
    "feature_layer_norm_eps": _OrNothing(Share()),
    "positional_conv": OneOf(("added", "unused", "none")),
    "conv_module_norm": OneOf(("batch", "layer")),
    **dict.fromkeys(("num_mel_bins", "mel_stride"), Whole(most=2**10)),
    **dict.fromkeys(("rotary_embedding_base", "max_source_positions"), Whole(most=2**30)),
    **dict.fromkeys(("left_max_position_embeddings", "right_max_position_embeddings"), Whole(least=0, most=2**20)),
    "relative_size": Whole(optional=True),
    **dict.fromkeys(("conv_depthwise_kernel_size", "adapter_kernel_size"), Whole(most=2**12)),
    **dict.fromkeys(("adapter_stride", "num_adapter_layers"), Whole(most=16)),
    **dict.fromkeys(("hidden_act", "feat_extract_activation", "adapter_act"), OneOf(tuple(sorted(ACT2FN)))),
    "feat_extract_norm": OneOf(("group", "layer")),
    "feature_projection": OneOf(("linear", "none")),
    "ctc_loss_reduction": OneOf(("mean", "none", "sum")),
    "pad_token_id": Whole(least=0, most=MOST_TOKENS, optional=True),
    **dict.fromkeys(("bos_token_id", "eos_token_id"), _TokenIds()),
    "attention_reuse": _ReusedLayers(),
    "layer_ranks": _LayerRanks(),
    "layer_position_heads": _ListsOf("heads", "[[0, 1], [1]]"),
    "conv_sharing": _ListsOf("convolutions", "[[1, 2], [3, 4]]"),
}  # fmt: skip
"""Field -> rule; fields that hold fields, such as ``decoder`` and ``streaming``, have rules of their own."""

OWN_FIELDS = frozenset(item.name for item in fields(Shape)) - {item.name for item in fields(PreTrainedConfig)}  # type: ignore[arg-type]
"""Fields of bigfoot's own, beside those that every configuration of transformers' has."""

_OF_TRANSFORMERS: Mapping[str, Rule] = dict.fromkeys(
    ("dtype", "torch_dtype"), OneOf(("bfloat16", "float16", "float32", "float64"))
)


def field_problems(values: Mapping[str, object]) -> Iterator[str]:
    """Find problems of fields, each by itself.

    Args:
        values: by name; one that is missing has its default.

    Yields:
        One sentence a problem.

    Examples:
        >>> list(field_problems({"num_hidden_layers": 0, "conv_bias": "yes"}))[1]
        "conv_bias 'yes' should be true or false"
    """
    yield from find_problems(values, {**RULES, **_OF_TRANSFORMERS})
    if values.get("decoder") is not None:
        yield from decoder_problems(values["decoder"])
    if values.get("task") is not None:
        yield from task_problems(values["task"])
    if values.get("frame_encoder") is not None:
        yield from frame_encoder_problems(values["frame_encoder"])
    if values.get("streaming") is not None:
        yield from streaming_problems(values["streaming"])
    if values.get("lora") is not None:
        yield from lora_problems(values["lora"])
    if values.get("small_weights") is not None:
        yield from small_weight_problems(values["small_weights"])


def read_fields(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Take bigfoot's own fields from a ``config.json``, and those of transformers that identify its source.

    Any other field stays out: transformers acts on some of them (``attn_implementation`` may name code to fetch,
    ``num_labels`` gives the length of a list to build).

    Args:
        raw: the file.

    Returns:
        The fields, and the names of those left out whose value is not a default.
    """
    kept = {name: value for name, value in raw.items() if name in OWN_FIELDS}
    kept |= {name: raw[name] for name in _OF_TRANSFORMERS if raw.get(name) is not None}
    version, architectures, code = (raw.get(name) for name in ("transformers_version", "architectures", "auto_map"))
    if isinstance(version, str):
        kept["transformers_version"] = version
    if isinstance(architectures, list) and all(isinstance(each, str) for each in architectures):
        kept["architectures"] = architectures
    if isinstance(code, dict):
        kept["auto_map"] = code
    return kept, sorted(quote(name) for name in raw if _is_strange(name))


_EXPECTED = {item.name for item in fields(PreTrainedConfig)} | {"model_type", "torch_dtype", "auto_map"}  # type: ignore[arg-type]


def _is_strange(name: str) -> bool:
    return not name.startswith("_") and name not in OWN_FIELDS and name not in _EXPECTED
