"""CTC models of transformers that are none of our families: read as they are, to learn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers.models.auto.modeling_auto import MODEL_FOR_CTC_MAPPING_NAMES

from bigfoot.errors import ModelError
from bigfoot.formats.choices import Choices
from bigfoot.formats.filling import fill_model, in_fp32
from bigfoot.formats.huggingface import FAMILIES
from bigfoot.formats.weight_files import read_weights
from bigfoot.models.configuration import BigfootConfig, build_config
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.frames.timing import FrameTiming
from bigfoot.models.frames.transformers_ctc import build_model, encoder_config, split_head
from bigfoot.text.huggingface import load_head_tokenizer
from bigfoot.text.json_fields import quote
from bigfoot.text.json_files import read_json, read_json_if_there
from bigfoot.text.tokenizers import Processor, load_processor


def _parakeet_timing(encoder: Mapping[str, Any], extractor: Mapping[str, Any]) -> FrameTiming:
    # Spectra stand around their sample (centred STFT), and each convolution around its input (padding).
    return FrameTiming(extractor.get("hop_length", 160) * encoder["subsampling_factor"], 0.0)


def _lasr_timing(encoder: Mapping[str, Any], extractor: Mapping[str, Any]) -> FrameTiming:
    # Nothing is padded: a frame is the middle of what two convolutions of spectra see.
    hop, window = extractor.get("hop_length", 160), extractor.get("win_length", 400)
    kernel, stride = encoder["subsampling_conv_kernel_size"], encoder["subsampling_conv_stride"]
    return FrameTiming(hop * stride**2, (window - 1) / 2 + hop * (kernel - 1) / 2 * (1 + stride))


TIMINGS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], FrameTiming]] = {
    "parakeet_ctc": _parakeet_timing,
    "lasr_ctc": _lasr_timing,
}
"""When the frames of a kind are, from the configurations of its encoder and of its feature extractor."""


def is_foreign_ctc(path: Path) -> bool:
    """Return whether a folder holds a CTC model of transformers that is none of our families."""
    file = path / "config.json"
    if not path.is_dir() or not file.is_file():
        return False
    kind = str(read_json(file).get("model_type"))
    return kind in MODEL_FOR_CTC_MAPPING_NAMES and kind not in FAMILIES and kind in TIMINGS


def read_foreign_config(folder: Path) -> BigfootConfig:
    """Read the shape of a foreign CTC model.

    Args:
        folder: with ``config.json`` and ``preprocessor_config.json``.

    Raises:
        ModelError: it cannot be built by transformers' own classes.
    """
    config, extractor = read_json(folder / "config.json"), read_extractor(folder)
    try:
        with torch.device("meta"):
            model = build_model(config)
        encoder = encoder_config(model).to_dict()
        timing = TIMINGS[str(config["model_type"])](encoder, extractor)
    except (TypeError, ValueError, KeyError, ImportError, RuntimeError, StrictDataclassError) as error:
        raise ModelError(f"{folder}: transformers cannot build a model from its config.json: {error}") from error
    size, blank = model.config.vocab_size, model.config.pad_token_id
    if not isinstance(blank, int) or not 0 <= blank < size:
        raise ModelError(f"{folder}: pad_token_id, its blank, is {quote(blank)}, and its head has {size} tokens")
    settings = {"config": config, "extractor": extractor, "timing": [float(timing.period), float(timing.first)]}
    fields = {
        "frame_encoder": {"kind": "transformers_ctc", "settings": settings}, "hidden_size": encoder["hidden_size"],
        "num_hidden_layers": encoder["num_hidden_layers"], "num_attention_heads": 1, "num_conv_pos_embedding_groups": 1,
        "ctc_head": True, "mask_time_prob": 0.0, "vocab_size": size, "pad_token_id": blank,
        "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    return build_config(fields, folder / "config.json")


def read_extractor(folder: Path) -> dict[str, Any]:
    """Read the settings of a foreign model's feature extractor.

    Args:
        folder: with ``preprocessor_config.json``, or with ``processor_config.json`` that holds it.

    Raises:
        ModelError: there are none, or of audio at another rate than 16 kHz.
    """
    nested = read_json_if_there(folder / "processor_config.json").get("feature_extractor")
    found = nested or read_json_if_there(folder / "preprocessor_config.json")
    if not isinstance(found, dict) or not found:
        raise ModelError(f"{folder}: no preprocessor_config.json, which says how the audio becomes the model's input")
    if found.get("sampling_rate", 16_000) != 16_000:
        raise ModelError(f"{folder}: its audio has {quote(found['sampling_rate'])} Hz, expected 16000")
    return dict(found)


def outline_foreign_ctc(folder: Path, _: Choices) -> tuple[BigfootConfig, Processor]:
    """Read shape and processor of a foreign CTC model; see ``read_foreign_config``."""
    config = read_foreign_config(folder)
    return config, load_foreign_processor(folder, config)


def load_foreign_ctc(folder: Path, _: Choices) -> tuple[BigfootForCTC, Processor]:
    """Load a foreign CTC model, its head as ours.

    Args:
        folder: of transformers' ``save_pretrained``.

    Raises:
        ModelError: its weights do not fit its configuration.
    """
    config = read_foreign_config(folder)
    model = fill_model(config, _rename(config, in_fp32(read_weights(folder))), str(folder))
    return model, load_foreign_processor(folder, config)


def _rename(config: BigfootConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors the names that they have behind ``TransformersFrames``."""
    assert config.frame_encoder is not None
    with torch.device("meta"):
        inner, (head, _) = split_head(build_model(config.frame_encoder["settings"]["config"]))
        ours = BigfootForCTC(config)
    known = inner.state_dict()
    found = {}
    for name, tensor in tensors.items():
        part, _, rest = name.rpartition(".")
        if part == head:
            found[f"{ours.head_name}.{rest}"] = tensor.squeeze(-1) if tensor.ndim == 3 else tensor
        elif name in known or not name.endswith("num_batches_tracked"):
            found[f"{config.weight_prefix}.encoder.inner.model.{name}"] = tensor
    return found


def load_foreign_processor(folder: Path, config: BigfootConfig) -> Processor:
    """Read how a foreign CTC model writes text; audio comes to it as it is.

    Args:
        folder: with ``tokenizer.json`` or ``vocab.json``.
        config: of ``read_foreign_config``.
    """
    tokenizer = load_head_tokenizer(folder, config.vocab_size, config.pad_token_id)
    return Processor(tokenizer or load_processor(folder, config.vocab_size).tokenizer, do_normalize=False)
