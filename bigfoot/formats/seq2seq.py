"""Sequence-to-sequence speech models of transformers other than Whisper: read to transcribe what a student learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import GenerationConfig, PreTrainedModel

from bigfoot.errors import ModelError
from bigfoot.formats.choices import Choices
from bigfoot.formats.filling import in_fp32, refuse_quantized
from bigfoot.formats.foreign_ctc import read_extractor
from bigfoot.formats.weight_files import read_weights
from bigfoot.models.configuration import BigfootConfig, build_config
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.finite import find_non_finite
from bigfoot.models.frames.encoder import OtherEncoder
from bigfoot.models.frames.registry import SEQ2SEQ
from bigfoot.models.frames.seq2seq import SEQ2SEQ_KINDS, Seq2SeqFrames
from bigfoot.muting import without_bars
from bigfoot.text.json_files import read_json
from bigfoot.text.tokenizers import Processor

_UNBUILT = (TypeError, ValueError, KeyError, ImportError, RuntimeError, AttributeError, OSError, StrictDataclassError)


def is_seq2seq(path: Path) -> bool:
    """Return whether a folder holds a sequence-to-sequence speech model of a kind that is known here."""
    file = path / "config.json"
    return path.is_dir() and file.is_file() and read_json(file).get("model_type") in SEQ2SEQ_KINDS


def outline_seq2seq(folder: Path, _: Choices) -> tuple[BigfootConfig, Processor]:
    """Read shape and processor of such a model.

    Args:
        folder: with ``config.json`` and the file of its feature extractor.

    Raises:
        ModelError: it cannot be built by transformers' own classes.
    """
    settings = {"config": read_json(folder / "config.json"), "extractor": read_extractor(folder)}
    try:
        with torch.device("meta"):
            encoder = Seq2SeqFrames(settings)
    except _UNBUILT as error:
        raise ModelError(f"{folder}: transformers cannot build a model from its config.json: {error}") from error
    fields = {
        "frame_encoder": {"kind": SEQ2SEQ, "settings": settings}, "hidden_size": encoder.hidden_size,
        "num_hidden_layers": 1, "num_attention_heads": 1, "num_conv_pos_embedding_groups": 1, "ctc_head": False,
        "mask_time_prob": 0.0,
    }  # fmt: skip
    # Its own feature extractor normalizes where its file says so.
    return build_config(fields, folder / "config.json"), Processor(do_normalize=False)


def load_seq2seq(folder: Path, choices: Choices) -> tuple[BigfootForCTC, Processor]:
    """Load such a model.

    Args:
        folder: of transformers' ``save_pretrained``.
        choices: none.

    Raises:
        ModelError: its weights do not fit its configuration.
    """
    config, processor = outline_seq2seq(folder, choices)
    with torch.device("meta"):
        model = BigfootForCTC(config)
        encoder = model.speech_encoder
        assert isinstance(encoder, OtherEncoder) and isinstance(encoder.inner, Seq2SeqFrames)
        empty = encoder.inner.model
    encoder.inner.model = fill_theirs(folder, empty)
    return model.eval(), processor


def fill_theirs(folder: Path, empty: PreTrainedModel) -> PreTrainedModel:
    """Build a model of transformers anew around the weights of a folder; transformers itself ties what is one.

    Args:
        folder: with the weights.
        empty: of the same shape, without weights (``torch.device("meta")``).

    Raises:
        ModelError: weights are missing, of another shape, quantized or damaged.
    """
    tensors = in_fp32(read_weights(folder))
    if faults := find_non_finite(tensors):
        raise ModelError(f"{folder}: its weights are damaged: {', '.join(faults[:5])}")
    prefix = f"{empty.base_model_prefix}."
    if not any(name.startswith(prefix) for name in tensors):  # saved without its head
        tensors = {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
    # Before anything of the size that the configuration claims is built.
    expected = empty.state_dict()
    tied = empty.get_expanded_tied_weights_keys(all_submodels=True)
    owners = {*tied, *tied.values()}
    wrong = [
        name for name, wanted in expected.items()
        if (name not in owners or name in tensors) and getattr(tensors.get(name), "shape", None) != wanted.shape
    ]  # fmt: skip
    wrong += [name for name, owner in tied.items() if name not in tensors and owner not in tensors]
    if wrong:
        raise ModelError(f"{folder}: its weights do not fit its config.json: {wrong[0]} is missing or of another shape")
    refuse_quantized(tensors, expected, folder)
    try:
        with without_bars():
            found: Any = type(empty).from_pretrained(None, config=empty.config, state_dict=tensors)
        if (folder / "generation_config.json").is_file():
            found.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    except _UNBUILT as error:
        raise ModelError(f"{folder}: transformers cannot load its weights: {error}") from error
    assert isinstance(found, PreTrainedModel)
    return found.eval()
