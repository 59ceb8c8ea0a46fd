"""What torchaudio's builders are called with: read from tensors, from their arguments, and from our configuration."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bigfoot.errors import ModelError
from bigfoot.models.configuration import BigfootConfig, build_config
from bigfoot.models.shape_checks import beyond_huggingface

BUILDERS = {"wav2vec2": "wav2vec2_model", "hubert": "wav2vec2_model", "wavlm": "wavlm_model"}
"""Family -> function of ``torchaudio.models`` whose state dict it is; HuBERT's is wav2vec2's to the last name."""

POSITION_TABLE = "encoder.encoder.position_bias.weight"
"""Plain name of WavLM's table of position biases, (buckets, heads); no other family has one."""

# Argument of the builder -> field of the configuration, where one is the other.
_FIELDS = {
    "extractor_conv_bias": "conv_bias",
    "encoder_embed_dim": "hidden_size",
    "encoder_projection_dropout": "feat_proj_dropout",
    "encoder_pos_conv_kernel": "num_conv_pos_embeddings",
    "encoder_pos_conv_groups": "num_conv_pos_embedding_groups",
    "encoder_num_layers": "num_hidden_layers",
    "encoder_num_heads": "num_attention_heads",
    "encoder_attention_dropout": "attention_dropout",
    "encoder_ff_interm_features": "intermediate_size",
    "encoder_ff_interm_dropout": "activation_dropout",
    "encoder_dropout": "hidden_dropout",
    "encoder_layer_norm_first": "do_stable_layer_norm",
}
# Fixed in every builder.
_GRANTED = {
    "hidden_act": "gelu", "feat_extract_activation": "gelu", "layer_norm_eps": 1e-5, "feat_proj_layer_norm": True,
    "conv_pos_batch_norm": False, "adapter_attn_dim": None, "add_adapter": False,
}  # fmt: skip
_TRANSLATED = {"extractor_mode", "extractor_conv_layer_config", "aux_num_out", "encoder_layer_drop"}
_WAVLM_FIELDS = {"encoder_num_buckets": "num_buckets", "encoder_max_distance": "max_bucket_distance"}
# Published models: strides of the seven convolutions by their kernels, and those widths whose heads are not 64 wide.
_STRIDES = {(10, 3, 3, 3, 3, 2, 2): (5, 2, 2, 2, 2, 2, 2)}
_HEADS = {1280: 16, 1920: 16}
_USUAL_HEAD = 64
_USUAL_DISTANCE = 800

log = logging.getLogger("bigfoot")


def unsupported_parts(config: BigfootConfig) -> list[str]:
    """Name the parts of a shape that no builder of torchaudio's can express.

    Args:
        config: the shape.

    Returns:
        One phrase a part; empty where torchaudio can express all of it.

    Examples:
        >>> unsupported_parts(BigfootConfig(hidden_act="relu"))
        ["hidden_act 'relu' (it knows 'gelu')"]
    """
    beyond = beyond_huggingface(config)
    if config.family not in BUILDERS:
        beyond.append(f"the family {config.family} (it has {', '.join(BUILDERS)})")
    for name, only in _GRANTED.items():
        if getattr(config, name) != only:
            beyond.append(f"{name} {getattr(config, name)!r} (it knows {only!r})")
    return beyond


def read_arguments(state: dict[str, Tensor], given: dict[str, Any], source: str) -> dict[str, Any]:
    """Read the builder's arguments from tensors; the rest is as given or usual, with a warning.

    Args:
        state: tensors by the names of ``plain_state``.
        given: arguments that are known.
        source: the file, for messages.

    Returns:
        All arguments but dropouts.

    Raises:
        ModelError: tensors are missing, or what they do not show is neither given nor usual.
    """
    convs = _sequence(state, "encoder.feature_extractor.conv_layers.{}.conv.weight")
    layers = _sequence(state, "encoder.encoder.layers.{}.final_layer_norm.weight")
    wide = _sequence(state, "encoder.encoder.layers.{}.feed_forward.intermediate_dense.weight")
    positions = state.get("encoder.encoder.pos_conv_embed.conv.parametrizations.weight.original1")
    if not convs or not layers or not wide or positions is None:
        raise ModelError(f"{source}: not a whole state dict of torchaudio's: convolutions or layers are missing")
    embedding, head = state.get(POSITION_TABLE), state.get("head.weight")
    matrices = [tensor for tensor in (*wide, embedding, head) if tensor is not None]
    if any(t.ndim != 3 or not t.numel() for t in (*convs, positions)) or any(t.ndim != 2 for t in matrices):
        raise ModelError(f"{source}: not a state dict of torchaudio's: convolutions or matrices have other dimensions")
    norms = [name for name in state if re.fullmatch(r"encoder\.feature_extractor.*\.layer_norm\.weight", name)]
    width, per_layer = positions.shape[0], len(norms) > 1
    read: dict[str, Any] = {
        "extractor_mode": "layer_norm" if per_layer else "group_norm",
        "extractor_conv_bias": "encoder.feature_extractor.conv_layers.0.conv.bias" in state,
        "encoder_embed_dim": width,
        "encoder_pos_conv_kernel": positions.shape[2],
        "encoder_pos_conv_groups": width // positions.shape[1],
        "encoder_num_layers": len(layers),
        "encoder_ff_interm_features": wide[0].shape[0],
        "aux_num_out": None if head is None else head.shape[0],
    }
    if embedding is not None:
        read |= {"encoder_num_buckets": embedding.shape[0], "encoder_num_heads": embedding.shape[1]}
    return read | _add_what_is_usual(convs, read, given, source)


def _add_what_is_usual(
    convs: list[Tensor], read: dict[str, Any], given: dict[str, Any], source: str
) -> dict[str, Any]:
    """Arguments that no tensor shows: strides, heads, whether norms come first, and how far WavLM's positions reach."""
    kernels, width = tuple(conv.shape[2] for conv in convs), read["encoder_embed_dim"]
    known, usual, words = read | given, dict[str, Any](), []
    if "extractor_conv_layer_config" not in known:
        if kernels not in _STRIDES:
            what = f"the strides of convolutions with kernels {list(kernels)}"
            raise ModelError(_describe_missing(source, what, "extractor_conv_layer_config"))
        shapes = zip((conv.shape[0] for conv in convs), kernels, _STRIDES[kernels], strict=True)
        usual["extractor_conv_layer_config"] = [list(shape) for shape in shapes]
        words.append(f"strides {list(_STRIDES[kernels])}")
    if "encoder_num_heads" not in known:
        if width not in _HEADS and width % _USUAL_HEAD:
            raise ModelError(_describe_missing(source, f"how many heads share a width of {width}", "encoder_num_heads"))
        usual["encoder_num_heads"] = _HEADS.get(width, width // _USUAL_HEAD)
        words.append(f"{usual['encoder_num_heads']} heads")
    if "encoder_layer_norm_first" not in known:
        first = usual["encoder_layer_norm_first"] = read["extractor_mode"] == "layer_norm"
        words.append(f"norms {'before' if first else 'after'} attention and feed-forward")
    if "encoder_num_buckets" in known and "encoder_max_distance" not in known:
        usual["encoder_max_distance"] = _USUAL_DISTANCE
        words.append(f"positions as far as {_USUAL_DISTANCE} frames")
    if words:
        log.warning(
            "%s: no tensor shows %s; taken as in torchaudio's published models. If something else is right, write "
            "it into %s", source, ", ".join(words), Path(source).with_suffix(".json").name,
        )  # fmt: skip
    return usual | given


def _describe_missing(source: str, what: str, argument: str) -> str:
    beside = Path(source).with_suffix(".json")
    return f'{source}: no tensor shows {what}; write {{"arguments": {{"{argument}": ...}}}} to {beside}'


def _sequence(state: dict[str, Tensor], name: str) -> list[Tensor]:
    """Tensors whose names count from 0."""
    found: list[Tensor] = []
    while (tensor := state.get(name.format(len(found)))) is not None:
        found.append(tensor)
    return found


def config_of(arguments: dict[str, Any], family: str, source: str) -> BigfootConfig:
    """Build the configuration of a builder's arguments.

    Args:
        arguments: of the builder, by its own names.
        family: one of ``BUILDERS``.
        source: the file, for messages.

    Returns:
        The configuration; dropouts that are not among the arguments have our own defaults.

    Raises:
        ModelError: an argument that no builder knows, or of a wrong kind; another family.
    """
    if family not in BUILDERS:
        raise ModelError(f"{source}: family {family!r} is none of {', '.join(BUILDERS)}")
    fields = _FIELDS | (_WAVLM_FIELDS if family == "wavlm" else {})
    if unknown := set(arguments) - set(fields) - _TRANSLATED:
        raise ModelError(f"{source}: torchaudio's {BUILDERS[family]} has no argument {', '.join(sorted(unknown))}")
    try:
        convs = zip(*arguments["extractor_conv_layer_config"], strict=True)
        channels, kernels, strides = (list(sizes) for sizes in convs)
        norm = {"group_norm": "group", "layer_norm": "layer"}[arguments["extractor_mode"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{source}: its extractor_conv_layer_config or extractor_mode is wrong: {error}") from error
    aux = arguments["aux_num_out"]
    named = {ours: arguments[theirs] for theirs, ours in fields.items() if theirs in arguments}
    named |= {"conv_dim": channels, "conv_kernel": kernels, "conv_stride": strides, "feat_extract_norm": norm}
    named |= {"family": family, "ctc_head": aux is not None, "vocab_size": aux or BigfootConfig.vocab_size}
    return build_config(named, source)


def arguments_of(config: BigfootConfig) -> dict[str, Any]:
    """Return the builder's arguments for a shape.

    Args:
        config: a shape without ``unsupported_parts``.

    Returns:
        Every argument of the builder, as JSON has it.
    """
    fields = _FIELDS | (_WAVLM_FIELDS if config.family == "wavlm" else {})
    shapes = zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True)
    return {
        "extractor_mode": f"{config.feat_extract_norm}_norm",
        "extractor_conv_layer_config": [list(shape) for shape in shapes],
        **{theirs: getattr(config, ours) for theirs, ours in fields.items()},
        "encoder_layer_drop": 0.0,
        "aux_num_out": config.vocab_size if config.ctc_head else None,
    }


def read_module_arguments(module: nn.Module) -> dict[str, Any]:
    """Return the builder's arguments that no tensor shows, from the module that it built.

    Args:
        module: torchaudio's ``Wav2Vec2Model``.

    Returns:
        Those arguments.
    """
    convs: Any = module.get_submodule("feature_extractor.conv_layers")
    layer: Any = module.get_submodule("encoder.transformer.layers.0")
    asked = {
        "extractor_conv_layer_config": [[c.conv.out_channels, c.kernel_size, c.stride] for c in convs],
        "encoder_num_heads": layer.attention.num_heads,
        "encoder_layer_norm_first": layer.layer_norm_first,
    }
    distance = getattr(layer.attention, "max_distance", None)
    return asked if distance is None else asked | {"encoder_max_distance": distance}
