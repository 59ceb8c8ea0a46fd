"""Model settings of a fairseq checkpoint, in old ``args`` or new ``cfg``, both ways."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bigfoot.errors import ModelError
from bigfoot.formats.safe_pickle import Record
from bigfoot.models.configuration import BigfootConfig, build_config
from bigfoot.models.shape_checks import UNPROJECTED

PLACEHOLDER_DIM = 1
"""``final_dim`` of a head of pre-training that is there because fairseq builds one; no real one is so narrow."""
_MAX_NODES = 100_000
_MAX_DEPTH = 40
_MAX_CONVS = 64

# Our field -> fairseq's, with its default there.
_SHAPE: dict[str, tuple[str, object]] = {
    "hidden_size": ("encoder_embed_dim", 768),
    "num_hidden_layers": ("encoder_layers", 12),
    "num_attention_heads": ("encoder_attention_heads", 12),
    "intermediate_size": ("encoder_ffn_embed_dim", 3072),
    "do_stable_layer_norm": ("layer_norm_first", False),
    "conv_bias": ("conv_bias", False),
    "num_conv_pos_embedding_groups": ("conv_pos_groups", 16),
}
# Those that fine-tuning sets anew.
_DROPOUTS: dict[str, tuple[str, object]] = {
    "hidden_dropout": ("dropout", 0.1),
    "attention_dropout": ("attention_dropout", 0.1),
    "activation_dropout": ("activation_dropout", 0.0),
    "feat_proj_dropout": ("dropout_input", 0.0),
}
_FINE_TUNING: dict[str, tuple[str, object]] = {
    "final_dropout": ("final_dropout", 0.0),
    "mask_time_prob": ("mask_prob", 0.5),
    "mask_time_length": ("mask_length", 10),
    "mask_feature_prob": ("mask_channel_prob", 0.0),
    "mask_feature_length": ("mask_channel_length", 10),
}
_CONVS = {
    "wav2vec2": "[(512, 10, 5), (512, 8, 4)] + [(512, 4, 2)] * 3 + [(512, 1, 1)]",
    "hubert": "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2",
}
_NORMS = {"default": "group", "layer_norm": "layer"}
_ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "gelu_accurate": "gelu_new", "gelu_fast": "gelu_new", "swish": "silu"}
# What stands in the name of a model, of fairseq's or a fork's, and its family; the first that fits.
_NAMED = (
    ("data2vec", "data2vec-audio"), ("unispeech_sat", "unispeech-sat"), ("unispeech", "unispeech"),
    ("squeeze_wav2vec2_deberta", "sew-d"), ("squeeze_wav2vec2", "sew"), ("hubert", "hubert"),
)  # fmt: skip
_ADAPTED = "trf_adp"
_OF_ADAPTERS = {"adp_act_fn": "relu", "adp_trf_idx": "all"}
"""Fields of layers with adapters, and what our layers have."""
_DISENTANGLED: dict[str, Any] = {
    "final_norm": False, "position_embeddings_type": "disentangled", "layer_norm_eps": 1e-7,
    "feature_layer_norm_eps": 1e-5, "do_stable_layer_norm": False,
}  # fmt: skip
_OF_DEBERTA: dict[str, object] = {
    "norm_rel_ebd": "layer_norm", "max_position_embeddings": 512, "position_buckets": 256, "relative_attention": True,
    "share_att_key": True,
}  # fmt: skip
_MODELS = {"wav2vec2": "wav2vec2", "hubert": "hubert", "data2vec-audio": "data2vec_audio"}
WRITTEN = (*_MODELS, "wavlm")
"""Families that fairseq, or WavLM's authors, have a class for."""


@dataclass(frozen=True)
class Settings:
    """Model settings of a checkpoint, as plain Python.

    Args:
        encoder: fairseq's fields of the encoder.
        fine_tuning: those of the model with a CTC head around it; None without one.
        task: those of the task, ``normalize`` and ``labels`` among them.
    """

    encoder: dict[str, Any]
    fine_tuning: dict[str, Any] | None
    task: dict[str, Any]

    @property
    def model_name(self) -> str:
        """Which model of fairseq's the encoder is, where it is stated."""
        return str(self.encoder.get("_name") or self.encoder.get("arch") or "")

    @property
    def family(self) -> str:
        """Family of the encoder by the name of its model; WavLM's files hold none.

        Examples:
            >>> Settings({"_name": "squeeze_wav2vec2_deberta"}, None, {}).family
            'sew-d'
        """
        return next((family for part, family in _NAMED if part in self.model_name), "wav2vec2")

    def layer(self, name: str, default: object = None) -> Any:  # noqa: ANN401 - of any kind, as the file has it
        """Return a field of the layers, which fine-tuning sets anew.

        Args:
            name: the field.
            default: where there is none.
        """
        tuned = (self.fine_tuning or {}).get(name)
        return self.encoder.get(name, default) if tuned is None else tuned

    @property
    def normalize(self) -> bool:
        """Whether the audio is brought to zero mean and unit variance."""
        return self.task.get("normalize") is True


def read_settings(content: Mapping[str, object], source: str) -> Settings:
    """Read the model settings of a checkpoint.

    Args:
        content: the checkpoint, with inert records.
        source: the file, for messages.

    Returns:
        Plain settings of encoder, fine-tuning and task.

    Raises:
        ModelError: there is nothing of the kind.
    """
    # fairseq itself prefers args where both are there.
    settings = content.get("args") if content.get("args") is not None else content.get("cfg")
    plain = _PlainReader(source).plain(settings)
    if not isinstance(plain, dict):
        raise ModelError(f"{source}: neither args nor cfg in it describe its model")
    model, task = _model_and_task(plain)
    if "w2v_args" not in model and "w2v_path" not in model:
        return Settings(model, None, task)
    inner = model.get("w2v_args")
    if not isinstance(inner, dict):
        raise ModelError(
            f"{source}: a fine-tuned model that only names its pre-trained one ({model.get('w2v_path')}), so that its "
            "shape is not in the file; load it in fairseq once and save it again with its w2v_args"
        )
    return Settings(_model_and_task(inner)[0], model, task)


def _model_and_task(plain: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split settings: new checkpoints have sections; old ones, and WavLM's, are flat."""
    model, task = plain.get("model"), plain.get("task")
    if not isinstance(model, dict):
        return plain, plain
    return model, task if isinstance(task, dict) else {}


class _PlainReader:
    """Turns records of argparse and omegaconf into dictionaries; counts, for records may be nested without end."""

    def __init__(self, source: str) -> None:
        self.source, self.seen = source, 0

    def plain(self, value: object, depth: int = 0) -> object:
        self.seen += 1
        if self.seen > _MAX_NODES or depth > _MAX_DEPTH:
            raise ModelError(f"{self.source}: its configuration is nested beyond all measure")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise ModelError(f"{self.source}: its configuration has a number of {value.bit_length()} bits")
        if isinstance(value, Record):
            return self._record(value, depth)
        if isinstance(value, dict):
            return {str(key): self.plain(inner, depth + 1) for key, inner in value.items() if isinstance(key, str)}
        if isinstance(value, list | tuple):
            return [self.plain(inner, depth + 1) for inner in value]
        return value

    def _record(self, record: Record, depth: int) -> object:
        if record.name == "argparse.Namespace":
            return self.plain(record.state, depth + 1)
        if record.name.startswith("omegaconf."):
            return self.plain(record.state.get("_content", record.state.get("_val")), depth + 1)
        # A member of an enumeration is its name or value.
        return record.arguments[0] if len(record.arguments) == 1 and isinstance(record.arguments[0], str) else None


def config_of(settings: Settings, family: str, vocab_size: int | None, source: str) -> BigfootConfig:
    """Build our configuration from the settings of a checkpoint.

    Args:
        settings: of the checkpoint.
        family: of ``Settings.family``, or ``wavlm``.
        vocab_size: rows of its CTC head; None without one.
        source: the file, for messages.

    Returns:
        The configuration.

    Raises:
        ModelError: a model that we have no counterpart for.
    """
    encoder = settings.encoder
    _refuse_foreign_parts(settings, source)
    convs = parse_convs(encoder.get("conv_feature_layers") or _CONVS.get(family, _CONVS["hubert"]), source)
    fields = {ours: encoder.get(theirs, default) for ours, (theirs, default) in (_SHAPE | _DROPOUTS).items()}
    fields |= {name: list(values) for name, values in zip(_CONV_FIELDS, zip(*convs, strict=True), strict=True)}
    fields |= _positions(encoder, family) | _family_fields(settings, family, fields)
    if settings.fine_tuning is not None:
        tuned = settings.fine_tuning
        fields |= {ours: tuned[theirs] for ours, (theirs, _) in _DROPOUTS.items() if theirs in tuned}
        fields |= {ours: tuned.get(theirs, default) for ours, (theirs, default) in _FINE_TUNING.items()}
        fields["apply_spec_augment"] = tuned.get("apply_mask", False) is True
    if not fields.get("mask_time_prob", 1) and not fields.get("mask_feature_prob"):
        # The vector that masks put in is in every file, but in our models only with masks.
        fields |= {"mask_time_prob": 0.05, "apply_spec_augment": False}
    fields |= {
        "family": family,
        "feat_extract_norm": _translate("extractor_mode", encoder.get("extractor_mode", "default"), _NORMS, source),
        "hidden_act": _translate("activation_fn", encoder.get("activation_fn", "gelu"), _ACTIVATIONS, source),
        "ctc_head": vocab_size is not None,
    }
    return build_config(fields if vocab_size is None else fields | {"vocab_size": vocab_size}, source)


_CONV_FIELDS = ("conv_dim", "conv_kernel", "conv_stride")


def _positions(encoder: dict[str, Any], family: str) -> dict[str, Any]:
    """Fields of the positional embeddings."""
    width, depth = encoder.get("conv_pos", 128), encoder.get("pos_conv_depth", 1)
    fields: dict[str, Any] = {"num_conv_pos_embeddings": width}
    if isinstance(width, int) and isinstance(depth, int) and depth > 1:
        fields = {"num_conv_pos_embeddings": depth, "conv_pos_kernel_size": max(3, width // depth)}
    if encoder.get("conv_pos_batch_norm"):
        fields["conv_pos_batch_norm"] = True
    if family == "wavlm":
        fields |= {"num_buckets": encoder.get("num_buckets", 320)}
        fields |= {"max_bucket_distance": encoder.get("max_distance", 1280)}
    return fields


def _family_fields(settings: Settings, family: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that some families have alone, and those of MMS's adapters."""
    encoder, found = settings.encoder, dict[str, Any]()
    if settings.layer("layer_type") == _ADAPTED:
        found["adapter_attn_dim"] = settings.layer("adp_dim", 64)
    if family in UNPROJECTED:
        found["squeeze_factor"] = encoder.get("squeeze_factor", 2)
        found["feature_projection"] = "none" if fields["conv_dim"][-1] == fields["hidden_size"] else "linear"
    if family == "sew-d":
        found |= _DISENTANGLED | {name: encoder.get(name, default) for name, default in _OF_DEBERTA.items()}
        products, farthest = encoder.get("pos_att_type", "p2c|c2p"), encoder.get("max_relative_positions", -1)
        found["pos_att_type"] = products.split("|") if isinstance(products, str) else products
        if isinstance(farthest, int) and farthest > 0:
            found["max_position_embeddings"] = farthest
    return found


def _refuse_foreign_parts(settings: Settings, source: str) -> None:
    encoder, layers = settings.encoder, settings.layer("layer_type")
    foreign = [name for name in ("quantize_input", "position_biased_input") if encoder.get(name)]
    if layers not in (None, "transformer", _ADAPTED):
        foreign.append(f"layer_type {str(layers)[:40]}")
    if layers == _ADAPTED:
        given = {name: settings.layer(name, default) for name, default in _OF_ADAPTERS.items()}
        foreign += [f"{name} {str(given[name])[:40]}" for name in given if given[name] != _OF_ADAPTERS[name]]
    if encoder.get("relative_position_embedding") and not encoder.get("gru_rel_pos"):
        foreign.append("relative positions without a gate (gru_rel_pos)")
    if encoder.get("squeeze_method", "default") != "default":
        foreign.append(f"squeeze_method {str(encoder['squeeze_method'])[:40]}")
    if foreign:
        raise ModelError(f"{source}: {', '.join(foreign)}: bigfoot's encoder has no such thing")


def _translate(name: str, value: object, words: Mapping[str, str], source: str) -> str:
    if not isinstance(value, str) or value not in words:
        raise ModelError(f"{source}: {name} {str(value)[:80]!r} is none of {', '.join(words)}")
    return words[value]


def parse_convs(text: object, source: str) -> list[tuple[int, int, int]]:
    """Read fairseq's ``conv_feature_layers``, which fairseq passes to ``eval`` and we do not.

    Args:
        text: such as ``[(512, 10, 5)] + [(512, 3, 2)] * 4``.
        source: the file, for messages.

    Returns:
        Channels, kernel and stride of each convolution.

    Raises:
        ModelError: it is anything but lists of three whole numbers, added and multiplied.

    Examples:
        >>> parse_convs("[(512, 10, 5)] + [(512, 3, 2)] * 2", "here")
        [(512, 10, 5), (512, 3, 2), (512, 3, 2)]
    """
    try:
        if not isinstance(text, str) or len(text) > 2000:
            raise ValueError("it is no short text")
        convs = _evaluate(ast.parse(text.strip(), mode="eval").body)
        if not isinstance(convs, list) or not 0 < len(convs) <= _MAX_CONVS:
            raise ValueError(f"it should list 1 to {_MAX_CONVS} convolutions")
        for conv in convs:
            if not isinstance(conv, tuple) or len(conv) != 3 or any(type(number) is not int for number in conv):
                raise ValueError("each convolution should be three whole numbers")
        return convs
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ModelError(f"{source}: conv_feature_layers {str(text)[:200]!r} cannot be read: {error}") from error


def _evaluate(node: ast.expr) -> object:
    """Numbers, tuples, lists, ``list + list`` and ``list * number``; nothing has a name, so nothing is called."""
    match node:
        case ast.Constant(int(value)):
            return value
        case ast.Tuple(elements):
            return tuple(_evaluate(element) for element in elements)
        case ast.List(elements):
            return [_evaluate(element) for element in elements]
        case ast.BinOp(left, ast.Add() | ast.Mult() as operator, right):
            first, second = _evaluate(left), _evaluate(right)
            if isinstance(operator, ast.Add) and isinstance(first, list) and isinstance(second, list):
                return first + second
            if isinstance(operator, ast.Mult) and isinstance(first, list) and isinstance(second, int):
                return first * max(0, min(second, _MAX_CONVS + 1))
    raise ValueError("only lists of numbers, + and * are understood")


def write_settings(config: BigfootConfig, normalize: bool, sample_rate: int) -> dict[str, Any]:
    """Describe a model in fairseq's words, as a plain ``cfg``.

    Args:
        config: of a shape that fairseq can express.
        normalize: whether the audio is normalized.
        sample_rate: of the audio in Hz.

    Returns:
        WavLM: its authors' flat ``cfg``. Otherwise sections ``model`` and ``task``; with a CTC head the encoder's
        own two in ``model.w2v_args``.

    Raises:
        ModelError: an activation that fairseq has no word for.
    """
    encoder = _write_encoder(config)
    if config.family == "wavlm":
        return encoder | {"normalize": normalize}
    common = {"data": ".", "normalize": normalize, "sample_rate": sample_rate}
    task = {"_name": "audio_pretraining", **common}
    if config.family == "hubert":
        # No labels: their names are not needed after pre-training.
        task = {"_name": "hubert_pretraining", **common, "labels": [], "label_rate": 50.0}
    encoder |= {"_name": _MODELS[config.family]} | ({"label_rate": 50} if config.family == "hubert" else {})
    inner = {"model": encoder, "task": task}
    if not config.ctc_head:
        return inner
    tuned = {theirs: getattr(config, ours) for ours, (theirs, _) in (_DROPOUTS | _FINE_TUNING).items()}
    tuned |= {"apply_mask": config.apply_spec_augment, "normalize": normalize, "data": ".", "w2v_path": ""}
    tuned |= {"w2v_args": inner, "layerdrop": 0.0, "feature_grad_mult": 0.0}
    if config.family == "hubert":
        task = {"_name": "hubert_pretraining", **common, "labels": ["ltr"], "label_rate": -1.0, "fine_tuning": True}
        return {"model": {"_name": "hubert_ctc", **tuned}, "task": task}
    task = {"_name": "audio_finetuning", **common, "labels": "ltr"}
    return {"model": {"_name": "wav2vec_ctc", **tuned}, "task": task}


def _write_encoder(config: BigfootConfig) -> dict[str, Any]:
    activations = {ours: theirs for theirs, ours in reversed(_ACTIVATIONS.items())}
    if config.hidden_act not in activations or config.feat_extract_activation != "gelu":
        raise ModelError(
            f"fairseq cannot express hidden_act {config.hidden_act!r} with feat_extract_activation "
            f"{config.feat_extract_activation!r}; keep the bigfoot format"
        )
    encoder = {theirs: getattr(config, ours) for ours, (theirs, _) in (_SHAPE | _DROPOUTS).items()}
    convs = [list(getattr(config, name)) for name in _CONV_FIELDS]
    encoder |= {
        "extractor_mode": {ours: theirs for theirs, ours in _NORMS.items()}[config.feat_extract_norm],
        "activation_fn": activations[config.hidden_act],
        "conv_feature_layers": str(list(zip(*convs, strict=True))),
        "encoder_layerdrop": 0.0,
        "conv_pos": config.num_conv_pos_embeddings,
    }
    if config.conv_pos_kernel_size is not None:
        depth = config.num_conv_pos_embeddings
        encoder |= {"conv_pos": depth * config.conv_pos_kernel_size, "pos_conv_depth": depth}
    if config.conv_pos_batch_norm:
        encoder["conv_pos_batch_norm"] = True
    if config.family == "wavlm":
        encoder |= {"relative_position_embedding": True, "gru_rel_pos": True}
        encoder |= {"num_buckets": config.num_buckets, "max_distance": config.max_bucket_distance}
    else:
        # The smallest heads that fairseq builds around an encoder; it wants them in the file, and they hold zeros.
        encoder["final_dim"] = PLACEHOLDER_DIM
    return encoder
