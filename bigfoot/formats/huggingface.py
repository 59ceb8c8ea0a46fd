"""Hugging Face folders and ids, both ways.

The names of the tensors are our own already (see ``BigfootConfig.weight_prefix``); what is left is to read older names
(``tensor_names``), and to refuse what the encoder cannot be.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig

from bigfoot.errors import ModelError
from bigfoot.formats.dense import advise_format
from bigfoot.formats.family_names import family_state, to_own_names
from bigfoot.formats.filling import fill_model, in_fp32
from bigfoot.formats.languages import ADAPTER_FILES, find_language_file, is_of_language, read_language
from bigfoot.formats.tensor_names import rename_to_current
from bigfoot.formats.unread_kinds import advise_on_kind
from bigfoot.formats.weight_files import read_weights, weight_files
from bigfoot.models.configuration import BigfootConfig, build_config
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.notices import warn_once
from bigfoot.models.reshape import reshape_config
from bigfoot.models.shape import FAMILY_PREFIXES
from bigfoot.models.shape_checks import UNPROJECTED, beyond_huggingface
from bigfoot.progress import show_work
from bigfoot.storage.places import is_remote
from bigfoot.storage.remote import fetch
from bigfoot.text.json_fields import is_whole, quote
from bigfoot.text.json_files import read_json
from bigfoot.text.tokenizers import extractor_settings


@dataclass(frozen=True)
class Family:
    """Names of a family in transformers, and its implied settings.

    Args:
        stem: of its classes: ``Hubert`` of ``HubertForCTC``.
        granted: our fields that its configuration does not hold, as its class always has them.
        has_log_mel: whether its input is filter banks.
    """

    stem: str
    granted: dict[str, object] = field(default_factory=dict)
    has_log_mel: bool = False


_CONFORMER: dict[str, object] = {"block": "conformer", "do_stable_layer_norm": True}
_LOG_MEL: dict[str, object] = {"front_end": "log-mel", "conv_dim": [], "conv_kernel": [], "conv_stride": []}
_CAUSAL: dict[str, object] = {
    "positional_conv": "none", "final_norm": False, "conv_module_norm": "layer", "conv_module_causal": True,
}  # fmt: skip
# By transformers' model_type.
FAMILIES = {
    "wav2vec2": Family("Wav2Vec2"),
    "hubert": Family("Hubert"),
    "wavlm": Family("WavLM"),
    "data2vec-audio": Family("Data2VecAudio", {"feat_extract_norm": "layer", "do_stable_layer_norm": False}),
    "unispeech": Family("UniSpeech"),
    "unispeech-sat": Family("UniSpeechSat"),
    "wav2vec2-conformer": Family("Wav2Vec2Conformer", _CONFORMER | {"positional_conv": "unused"}),
    "sew": Family("SEW", {"do_stable_layer_norm": False}),
    "sew-d": Family("SEWD", {
        "do_stable_layer_norm": False, "final_norm": False, "position_embeddings_type": "disentangled",
    }),
    "wav2vec2-bert": Family("Wav2Vec2Bert", _CONFORMER | _LOG_MEL | _CAUSAL, has_log_mel=True),
}
_OF_CONV_ADAPTERS = (
    "adapter_kernel_size", "adapter_stride", "num_adapter_layers", "adapter_act", "use_intermediate_ffn_before_adapter",
    "add_adapter",
)  # fmt: skip
_CONFIG_FIELDS = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
    "hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout", "final_dropout",
    "initializer_range", "layer_norm_eps", "feat_extract_norm", "feat_extract_activation", "conv_dim", "conv_stride",
    "conv_kernel", "conv_bias", "num_conv_pos_embeddings", "num_conv_pos_embedding_groups", "do_stable_layer_norm",
    "apply_spec_augment", "mask_time_prob", "mask_time_length", "mask_time_min_masks", "mask_feature_prob",
    "mask_feature_length", "mask_feature_min_masks", "ctc_loss_reduction", "ctc_zero_infinity", "pad_token_id",
    "bos_token_id", "eos_token_id", "num_buckets", "max_bucket_distance", "conv_pos_kernel_size",
    "conv_pos_batch_norm", "feat_proj_layer_norm", "position_embeddings_type", "rotary_embedding_base",
    "max_source_positions", "left_max_position_embeddings", "right_max_position_embeddings",
    "conv_depthwise_kernel_size", "conformer_conv_dropout", "squeeze_factor", "adapter_attn_dim", "position_buckets",
    "max_position_embeddings", "pos_att_type", "share_att_key", "relative_attention", "norm_rel_ebd",
    "feature_layer_norm_eps", *_OF_CONV_ADAPTERS,
)  # fmt: skip


GRAPH_FILES = ["model.onnx", "model.onnx.data", "model.onnx_data"]
"""Of a hub's repository without weights of another format."""


def fetch_folder(name: str, language: str | None = None) -> Path:
    """Turn a folder or a Hugging Face id into a folder on this machine.

    Args:
        name: a folder, of the cloud too, or ``owner/model`` on the hub.
        language: of several; the weights of the others are not fetched.

    Returns:
        The folder; for an id, the hub's cache, and of the cloud, ours.

    Raises:
        ModelError: it is neither, or the hub cannot be reached.
    """
    if is_remote(name):
        return fetch(name)
    if Path(name).is_dir():
        return Path(name)
    if Path(name).is_file():
        raise ModelError(f"no model folder at {name}: it is a file, and no checkpoint")
    if Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise ModelError(f"no model folder at {name}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        wanted = ["*.json", "*.safetensors", "*.txt", "pytorch_model*.bin"]
        with show_work(f"fetching {name}"):
            folder = snapshot_download(name, allow_patterns=wanted, ignore_patterns=["adapter.*"])
            if not weight_files(Path(folder)):
                # A repository of a graph alone.
                folder = snapshot_download(name, allow_patterns=GRAPH_FILES)
            if language is not None:
                folder = snapshot_download(name, allow_patterns=[each.format(language) for each in ADAPTER_FILES])
            return Path(folder)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ModelError(f"{name} is no folder here, and could not be fetched from the hub: {error}") from error


def read_config(folder: Path, language: str | None = None) -> BigfootConfig:
    """Read a Hugging Face ``config.json`` as ours.

    Args:
        folder: model folder.
        language: of ``find_language``, whose head has rows of its own.

    Returns:
        The same shape.

    Raises:
        ModelError: another family, or a shape that the encoder has no counterpart for.
    """
    return _with_rows(config_of(read_json(folder / "config.json"), folder), _language_weights(folder, language))


def config_of(raw: Mapping[str, Any], folder: Path) -> BigfootConfig:
    """Build our configuration from a Hugging Face ``config.json``.

    Args:
        raw: the file.
        folder: where it lies, for messages.

    Returns:
        The same shape.

    Raises:
        ModelError: another family, or a shape that the encoder has no counterpart for.
    """
    family = str(raw.get("model_type"))
    if family not in FAMILIES:
        known = ", ".join(FAMILIES)
        advice = advise_on_kind(family)
        raise ModelError(f"{folder}: model_type {quote(family)} is not supported; known: {known}, bigfoot{advice}")
    _refuse_adapters(raw, family, folder)
    named = raw.get("architectures") or ["ForCTC"]
    # transformers leaves out of the file what equals the family's defaults, hence those, not ours.
    given = {key: raw.get(key, default) for key, default in _family_defaults(family).items()}
    ctc_head = str(named[0] if isinstance(named, list) else named).endswith("ForCTC")
    fields = {"family": family, "ctc_head": ctc_head, **given, **FAMILIES[family].granted}
    if not fields.get("add_adapter"):
        # Of no meaning, and different in every family.
        fields = {name: value for name, value in fields.items() if name not in _OF_CONV_ADAPTERS}
    if not fields.get("do_stable_layer_norm"):
        # Their classes build adapters only where norms come first.
        fields["adapter_attn_dim"] = None
    if fields.get("squeeze_factor") == 1:
        raise ModelError(f"{folder}: squeeze_factor 1: layers that see every frame are not supported in {family}")
    if family == "sew-d":
        fields |= _disentangled(raw, fields, folder)
    if FAMILIES[family].has_log_mel:
        fields |= _filter_banks(raw, folder)
    convs = fields["conv_dim"]
    if family in UNPROJECTED and isinstance(convs, list | tuple) and [*convs[-1:]] == [fields["hidden_size"]]:
        fields["feature_projection"] = "none"
    if fields["vocab_size"] is None:
        del fields["vocab_size"]  # Of an encoder without a head.
    return build_config(fields, folder / "config.json")


def _refuse_adapters(raw: Mapping[str, Any], family: str, folder: Path) -> None:
    if raw.get("add_adapter"):
        if "add_adapter" not in _family_defaults(family):
            raise ModelError(f"{folder}: add_adapter in its config: {family} has no layers behind the encoder")
        size, wide = raw.get("hidden_size"), raw.get("output_hidden_size")
        if wide not in (None, size):
            raise ModelError(f"{folder}: output_hidden_size {quote(wide)} is not hidden_size, which is not supported")
    if raw.get("adapter_attn_dim") and family != "wav2vec2":
        raise ModelError(f"{folder}: adapter_attn_dim in its config: adapters of layers are read of wav2vec2 alone")


def _disentangled(raw: Mapping[str, Any], fields: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the fields of disentangled positions as ours, of which transformers reads some more than it writes."""
    if raw.get("conv_kernel_size"):
        raise ModelError(f"{folder}: conv_kernel_size: a convolution behind the first layer is not supported")
    given, size, heads = raw.get("attention_head_size"), fields["hidden_size"], fields["num_attention_heads"]
    if given is not None and not (is_whole(given) and is_whole(heads) and given * heads == size):
        raise ModelError(f"{folder}: attention_head_size {quote(given)} is not hidden_size / num_attention_heads")
    farthest, normed = raw.get("max_relative_positions", -1), fields["norm_rel_ebd"]
    found: dict[str, Any] = {"pos_att_type": fields["pos_att_type"] or []}
    if isinstance(farthest, int) and farthest > 0:
        found["max_position_embeddings"] = farthest
    if isinstance(normed, str):
        parts = [part.strip() for part in normed.lower().split("|")]
        found["norm_rel_ebd"] = "layer_norm" if "layer_norm" in parts else "none"
    return found


def _filter_banks(raw: Mapping[str, Any], folder: Path) -> dict[str, int]:
    """Return the number of filters and of frames beside each other; the file of the feature extractor has the latter.

    Raises:
        ModelError: they do not give the features that the model takes.
    """
    size, extractor = raw.get("feature_projection_input_dim", 160), extractor_settings(folder)
    stride = extractor.get("stride", 2)
    if not isinstance(size, int) or not isinstance(stride, int) or stride < 1 or size % stride:
        raise ModelError(
            f"{folder}: feature_projection_input_dim {quote(size)} should be a multiple of the feature extractor's "
            f"stride, {quote(stride)}"
        )
    return {"mel_stride": stride, "num_mel_bins": size // stride}


def _family_defaults(family: str) -> dict[str, Any]:
    """Return those of our fields that the family's configuration in transformers has, with its defaults."""
    known = AutoConfig.for_model(family).to_dict()
    return {key: known[key] for key in _CONFIG_FIELDS if key in known}


def family_fields(config: BigfootConfig) -> dict[str, Any]:
    """Return the fields of a shape in the family's configuration of transformers.

    Args:
        config: a shape that transformers can express.

    Examples:
        >>> family_fields(BigfootConfig(num_hidden_layers=2))["num_hidden_layers"]
        2
    """
    ours = config.to_dict()
    fields = {key: ours[key] for key in _family_defaults(config.family)}
    if not config.add_adapter:
        fields = {key: value for key, value in fields.items() if key not in _OF_CONV_ADAPTERS}
    if "feature_layer_norm_eps" in fields:
        fields["feature_layer_norm_eps"] = config.projection_norm_eps
    return fields if config.has_convolutions else fields | {"feature_projection_input_dim": config.feature_size}


def load_huggingface(folder: Path, language: str | None = None) -> BigfootForCTC:
    """Load a Hugging Face folder exactly, with its CTC head if it has one; a pre-training head is dropped and named.

    Args:
        folder: with ``config.json`` and weights.
        language: of ``find_language``: its head and adapters take the place of those in the folder's weights.

    Returns:
        The model in fp32 and eval mode.

    Raises:
        ModelError: unsupported, unreadable, or weights that do not fit.
    """
    config, own = read_config(folder), _language_weights(folder, language)
    weights = read_weights(folder, in_fp32=True)
    if own:
        weights = {name: tensor for name, tensor in weights.items() if not is_of_language(name)} | own
    return build_from_weights(_with_rows(config, own), weights, str(folder))


def _language_weights(folder: Path, language: str | None) -> dict[str, Tensor]:
    file = None if language is None else find_language_file(folder, language)
    return {} if file is None else read_language(file)


def _with_rows(config: BigfootConfig, own: Mapping[str, Tensor]) -> BigfootConfig:
    head = own.get("lm_head.weight")
    return config if head is None or head.ndim != 2 else reshape_config(config, vocab_size=len(head))


def build_from_weights(config: BigfootConfig, weights: dict[str, Tensor], source: str) -> BigfootForCTC:
    """Build a model of tensors under any names that transformers has given them.

    Args:
        config: the shape, of a family's own; the tensors decide whether there is a head and a vector of masked frames.
        weights: by the file's names.
        source: where they come from, for messages.

    Returns:
        The model in fp32 and eval mode.

    Raises:
        ModelError: tensors are missing, left over or of another shape.
    """
    renamed, prefix = rename_to_current(weights, config.family), FAMILY_PREFIXES[config.family]
    for what, parts in (("pre-training head", renamed.pretraining), ("head for another task", renamed.other)):
        if parts:
            warn_once(f"{source}: its {what} was left out: {', '.join(sorted(parts))}")
    tensors = in_fp32(renamed.tensors)
    # The file decides: a folder may name ForPreTraining and carry a head, or the other way round.
    config.ctc_head = "lm_head.weight" in tensors
    has_mask = f"{prefix}.masked_spec_embed" in tensors
    if not has_mask:
        config.mask_time_prob = config.mask_feature_prob = 0.0
    elif config.mask_time_prob == config.mask_feature_prob == 0:
        tensors.pop(f"{prefix}.masked_spec_embed")
    return fill_model(config, to_own_names(tensors, config), source)


def save_huggingface(model: BigfootForCTC, folder: Path) -> None:
    """Write the family's own ``config.json`` and weights, so that plain transformers opens them.

    Args:
        model: of a shape that transformers can express.
        folder: made if missing.

    Raises:
        ModelError: transformers cannot express the shape; the parts are named.
    """
    beyond = beyond_huggingface(model.config)
    if beyond:
        raise ModelError(
            f"transformers' {model.config.family} cannot express {' and '.join(beyond)}; "
            f"{advise_format(model.config, beyond_huggingface)}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    family, config = model.config.family, family_fields(model.config)
    head = FAMILIES[family].stem + ("ForCTC" if model.head is not None else "Model")
    config |= {"model_type": family, "architectures": [head], "layerdrop": 0.0, "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
    tensors = {name: tensor.contiguous() for name, tensor in family_state(model).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
