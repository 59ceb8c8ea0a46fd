"""Shape of a fairseq2 checkpoint: its tensors, and the ``model.yaml`` beside it where there is one.

The checkpoint itself has no settings. All but heads, strides and dropout can be read from its tensors; heads are as
fairseq2's own architectures have them by their width, strides as all published models have them by their kernels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bigfoot.errors import ModelError
from bigfoot.models.configuration import BigfootConfig, build_config
from bigfoot.text.json_fields import quote

FRONT, EXTRACTOR = "encoder_frontend.", "encoder_frontend.feature_extractor.layers."
POSITIONS, MASK, HEAD = "encoder_frontend.pos_encoder.conv.", "masker.temporal_mask_embed", "final_proj"
CARD = "model.yaml"
"""What fairseq2's own training writes beside a checkpoint, in the words of its asset cards."""
FAMILY, FAMILY_WITH_HEAD = "wav2vec2", "wav2vec2_asr"

_MAX_CARD_BYTES = 2**20
# Of fairseq2's and Omnilingual ASR's architectures: base, large, 1b, 2b, 3b and 7b.
_HEADS = {768: 12, 1024: 16, 1280: 16, 1920: 16, 2048: 16}
_STRIDES: dict[tuple[int, ...], tuple[int, ...]] = {(10, 3, 3, 3, 3, 2, 2): (5, 2, 2, 2, 2, 2, 2)}
_LAYER = re.compile(r"encoder\.layers\.(\d+)\.self_attn\.q_proj\.weight")
_CONV = re.compile(re.escape(EXTRACTOR) + r"(\d+)\.conv\.weight")
# Our field -> theirs of the encoder, then of the model around it.
_ENCODER = {
    "hidden_dropout": "dropout_p", "attention_dropout": "attn_dropout_p", "activation_dropout": "ffn_inner_dropout_p",
    "feat_proj_dropout": "first_pass_dropout_p",
}  # fmt: skip
_MODEL = {
    "final_dropout": "final_dropout_p", "mask_time_prob": "max_temporal_mask_prob",
    "mask_time_length": "temporal_mask_span_len", "mask_time_min_masks": "min_num_temporal_mask_spans",
    "mask_feature_prob": "max_spatial_mask_prob", "mask_feature_length": "spatial_mask_span_len",
    "mask_feature_min_masks": "min_num_spatial_mask_spans",
}  # fmt: skip


def read_card(file: Path) -> dict[str, Any]:
    """Read the settings of a model's card.

    Args:
        file: ``model.yaml``; it may be absent.

    Returns:
        The card, with ``model_config`` in it; empty without one.

    Raises:
        ModelError: it cannot be read, or is no card.
    """
    if not file.is_file():
        return {}
    try:
        with file.open("rb") as opened:
            raw = opened.read(_MAX_CARD_BYTES + 1)
        if len(raw) > _MAX_CARD_BYTES:
            raise ValueError(f"it has more than {_MAX_CARD_BYTES} bytes")
        card = yaml.safe_load(raw.decode("utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ModelError(f"{file} cannot be read: {str(error)[:300]}") from error
    settings = card.get("model_config") if isinstance(card, dict) else None
    if not isinstance(settings, dict) or not isinstance(settings.get("encoder_config", {}), dict):
        raise ModelError(f"{file}: a card of fairseq2's holds model_config, with encoder_config in it")
    return {str(name): value for name, value in card.items()}


def read_shape(
    sizes: Mapping[str, Sequence[int]], settings: Mapping[str, Any], has_head: bool, source: str
) -> BigfootConfig:
    """Build our configuration.

    Args:
        sizes: shapes of the checkpoint's tensors, by name.
        settings: ``model_config`` of its card; empty without one.
        has_head: whether ``final_proj`` is a CTC head.
        source: the file, for messages.

    Raises:
        ModelError: a model that we have no counterpart for, or what no tensor has is neither usual nor given.
    """
    encoder = settings.get("encoder_config", {})
    _refuse_foreign_parts(sizes, encoder, source)
    layers, convs = _count(sizes, _LAYER), _count(sizes, _CONV)
    kernel = _shape(sizes, f"{POSITIONS}weight_v", 3, source)
    hidden = _shape(sizes, "encoder.layers.0.self_attn.q_proj.weight", 2, source)[1]
    kernels = [_shape(sizes, f"{EXTRACTOR}{index}.conv.weight", 3, source) for index in range(convs)]
    fields: dict[str, Any] = {ours: encoder[theirs] for ours, theirs in _ENCODER.items() if theirs in encoder}
    fields |= {ours: settings[theirs] for ours, theirs in _MODEL.items() if theirs in settings}
    if MASK not in sizes:
        fields |= {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}
    elif not fields.get("mask_time_prob", 1) and not fields.get("mask_feature_prob"):
        fields |= {"mask_time_prob": 0.05, "apply_spec_augment": False}
    norms = "layer" if f"{EXTRACTOR}0.layer_norm.weight" in sizes else "group"
    fields |= {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": _heads(encoder, hidden, source),
        "intermediate_size": _shape(sizes, "encoder.layers.0.ffn.inner_proj.weight", 2, source)[0],
        "conv_dim": [shape[0] for shape in kernels],
        "conv_kernel": [shape[2] for shape in kernels],
        "conv_stride": _strides(encoder, [shape[2] for shape in kernels], source),
        "conv_bias": f"{EXTRACTOR}0.conv.bias" in sizes,
        "feat_extract_norm": norms,
        "num_conv_pos_embeddings": kernel[2],
        "num_conv_pos_embedding_groups": kernel[0] // max(1, kernel[1]),
        "do_stable_layer_norm": f"{FRONT}layer_norm.weight" not in sizes,
        "ctc_head": has_head,
    }
    if has_head:
        fields["vocab_size"] = _shape(sizes, f"{HEAD}.weight", 2, source)[0]
    return build_config(fields, source)


def _refuse_foreign_parts(sizes: Mapping[str, Sequence[int]], encoder: Mapping[str, Any], source: str) -> None:
    foreign = [f"{name} {encoder[name]!r}" for name in ("use_conformer", "use_fbank") if encoder.get(name)]
    if encoder.get("pos_encoder_type", "conv") != "conv":
        foreign.append(f"pos_encoder_type {quote(encoder['pos_encoder_type'])}")
    decoders = sorted({name.partition(".")[0] for name in sizes if "decoder" in name.partition(".")[0]})
    if decoders:
        foreign.append(f"a decoder ({', '.join(decoders)[:100]}); its CTC models are read")
    if foreign:
        raise ModelError(f"{source}: {', '.join(foreign)}: bigfoot's encoder has no such thing")


def _count(sizes: Mapping[str, Sequence[int]], name: re.Pattern[str]) -> int:
    return sum(name.fullmatch(each) is not None for each in sizes)


def _shape(sizes: Mapping[str, Sequence[int]], name: str, rank: int, source: str) -> Sequence[int]:
    if name not in sizes or len(sizes[name]) != rank:
        found = f"is {tuple(sizes[name])}" if name in sizes else "is not in it"
        raise ModelError(f"{source}: no wav2vec2 of fairseq2's: {name} {found}")
    return sizes[name]


def _heads(encoder: Mapping[str, Any], hidden: int, source: str) -> object:
    heads = encoder.get("num_encoder_attn_heads", _HEADS.get(hidden))
    if heads is None:
        raise ModelError(
            f"{source}: an encoder {hidden} wide, of which no architecture is known, and the file does not have its "
            f"attention heads; put its {CARD} beside it (num_encoder_attn_heads), or name a model of the same shape: "
            "bigfoot convert FILE FOLDER --config CONFIG"
        )
    return heads


def _strides(encoder: Mapping[str, Any], kernels: Sequence[int], source: str) -> list[object]:
    given = encoder.get("feature_extractor_layer_descs")
    if given is None and tuple(kernels) in _STRIDES:
        return [*_STRIDES[tuple(kernels)]]
    listed = given if isinstance(given, list) else []
    if [each[1] for each in listed if isinstance(each, list) and len(each) == 3] != [*kernels]:
        raise ModelError(
            f"{source}: convolutions with kernels {[*kernels]}, whose strides the file does not have; put its {CARD} "
            "beside it (feature_extractor_layer_descs: channels, kernel and stride of each)"
        )
    return [each[2] for each in listed]


def write_card(config: BigfootConfig) -> dict[str, Any]:
    """Describe a model as a card of fairseq2's, which ``model.yaml`` holds.

    Args:
        config: of a shape that fairseq2 can express.
    """
    descs = zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True)
    layered = config.feat_extract_norm == "layer"
    encoder = {theirs: getattr(config, ours) for ours, theirs in _ENCODER.items()} | {
        "model_dim": config.hidden_size,
        "feature_dim": config.conv_dim[-1],
        "feature_extractor_layer_descs": [[*each] for each in descs],
        "feature_extractor_bias": config.conv_bias,
        "feature_extractor_layer_norm_convs": layered,
        "layer_norm_features": not config.do_stable_layer_norm,
        "pos_conv_kernel_size": config.num_conv_pos_embeddings,
        "num_pos_conv_groups": config.num_conv_pos_embedding_groups,
        "num_encoder_layers": config.num_hidden_layers,
        "num_encoder_attn_heads": config.num_attention_heads,
        "ffn_inner_dim": config.intermediate_size,
        "layer_drop_p": 0.0,
        "norm_order": "PRE" if config.do_stable_layer_norm else "POST",
    }
    model = {theirs: getattr(config, ours) for ours, theirs in _MODEL.items()}
    if config.ctc_head:
        masks = config.mask_time_prob > 0 or config.mask_feature_prob > 0
        model |= {"target_vocab_size": config.vocab_size, "use_masking": masks}
    else:
        del model["final_dropout_p"]
    family = FAMILY_WITH_HEAD if config.ctc_head else FAMILY
    return {"name": "checkpoint", "model_family": family, "model_config": {"encoder_config": encoder} | model}
