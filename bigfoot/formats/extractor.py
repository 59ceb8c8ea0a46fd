"""What is assumed of a model folder without the file of its feature extractor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bigfoot.formats.onnx_ctc import describe_assumed_audio
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.notices import warn_once
from bigfoot.models.shape import FAMILY_PREFIXES
from bigfoot.text.json_files import read_json
from bigfoot.text.tokenizers import Processor, extractor_settings, load_processor

_LOG_MEL = "log-mel"


def load_completed(
    folder: Path, config: BigfootConfig, head_size: int | None = None, language: str | None = None
) -> Processor:
    """``load_processor`` of a model, whose shape decides where the feature extractor's file is missing.

    Without the file every waveform is normalized, as transformers' ``Wav2Vec2FeatureExtractor`` does by default, and
    the mask is that of the family; filter banks take samples as they are, whatever the file leaves out.

    Args:
        folder: of the model.
        config: its shape.
        head_size: see ``load_processor``.
        language: see there.

    Returns:
        The processor; what was assumed is logged once.

    Raises:
        ModelError: see there.
    """
    processor = load_processor(folder, head_size, language)
    if (sentence := describe_assumed(folder, config)) is not None:
        warn_once(sentence)
        processor = replace(processor, return_attention_mask=config.feat_extract_norm == "layer")
    return replace(processor, do_normalize=False) if config.front_end == _LOG_MEL else processor


def describe_assumed(path: Path, config: BigfootConfig) -> str | None:
    """Describe what is assumed for want of ``preprocessor_config.json``; None where nothing is.

    Args:
        path: of the model; of other formats than the folders of bigfoot and Hugging Face nothing is assumed here.
        config: its shape.

    Returns:
        What is assumed, and what to check.

    Raises:
        ModelError: a file is not JSON.
    """
    if (graph := describe_assumed_audio(config)) is not None:
        return graph
    named = path / "config.json"
    if not named.is_file() or read_json(named).get("model_type") not in (*FAMILY_PREFIXES, BigfootConfig.model_type):
        return None
    if extractor_settings(path):
        return None
    missing = f"{path}: no preprocessor_config.json or processor_config.json in it; assumed are 16000 Hz and"
    if config.front_end == _LOG_MEL:
        return f"{missing} samples that are not normalized. Check the file of the original model"
    if config.feat_extract_norm == "layer":
        return (
            f"{missing} do_normalize: true, with which models with feat_extract_norm layer are trained. Check the file "
            "of the original model"
        )
    return (
        f"{missing} do_normalize: true, while models with feat_extract_norm group are trained with and without. Check "
        "the file of the original model, or which of the two gives the lower WER"
    )
