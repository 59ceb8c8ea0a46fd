"""The formats of models, in one table: how each is recognized, read and written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from bigfoot.errors import ModelError
from bigfoot.formats.checkpoint import CHECKPOINT_SUFFIXES, TENSOR_SUFFIXES, find_checkpoint
from bigfoot.formats.choices import Choices
from bigfoot.formats.extractor import load_completed
from bigfoot.formats.fairseq import is_fairseq, load_fairseq, save_fairseq
from bigfoot.formats.fairseq2 import is_fairseq2, load_fairseq2, save_fairseq2
from bigfoot.formats.filling import fill_model
from bigfoot.formats.foreign_ctc import is_foreign_ctc, load_foreign_ctc, outline_foreign_ctc
from bigfoot.formats.frames import is_whisper, load_whisper, refuse_to_save
from bigfoot.formats.huggingface import (
    config_of,
    load_huggingface,
    read_config,
    save_huggingface,
)
from bigfoot.formats.languages import find_language
from bigfoot.formats.onnx_ctc import is_onnx, list_graph_files, load_onnx, outline_onnx
from bigfoot.formats.seq2seq import is_seq2seq, load_seq2seq, outline_seq2seq
from bigfoot.formats.state_dict import read_state, refuse_without_shape, whose_names
from bigfoot.formats.torchaudio import BUNDLE_PREFIX, load_bundle, load_torchaudio, save_torchaudio
from bigfoot.formats.weight_files import advise_on_weights, read_weights, weight_files
from bigfoot.formats.with_config import build_with_config
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.muting import without_bars
from bigfoot.text.json_files import read_json
from bigfoot.text.tokenizers import FilterBanks, Processor, save_processor


@dataclass(frozen=True)
class Format:
    """One format of models.

    Args:
        name: as ``bigfoot convert --to`` has it.
        recognizes: whether what lies at a path is of this format.
        load: reads model and processor from a path, with what was chosen of it.
        save: fills a folder with a model and its processor.
        read_outline: reads shape and processor from a path; None where that takes reading the weights.
        takes: names of the ``Choices`` that it has.
        caveat: what is to be known of a model in this format, a sentence; None where there is nothing.
        leaves_out: ends of the names of tensors that the format has no place for and no output needs.
    """

    name: str
    recognizes: Callable[[Path], bool]
    load: Callable[[Path, Choices], tuple[BigfootForCTC, Processor]]
    save: Callable[[BigfootForCTC, Processor, Path], None]
    read_outline: Callable[[Path, Choices], tuple[BigfootConfig, Processor]] | None = None
    takes: frozenset[str] = frozenset()
    caveat: Callable[[BigfootForCTC], str | None] = lambda _: None
    leaves_out: tuple[str, ...] = ()

    def notes(self, model: BigfootForCTC, processor: Processor) -> list[str]:
        """Return what is to be known before a model is written in this format, a sentence each."""
        found = [] if processor.tokenizer is not None else ["there is no vocabulary: logits cannot become text"]
        return found + [note for note in [self.caveat(model)] if note is not None]


def find_format(path: Path) -> Format:
    """Find the format of what lies at a path.

    Args:
        path: a folder, a checkpoint file, or a bundle's name.

    Raises:
        ModelError: none of ours; each format is named with what it needs.

    Examples:
        >>> find_format(Path("torchaudio:WAV2VEC2_BASE")).name
        'torchaudio'
    """
    for candidate in (*_READ_ALONE, *FORMATS.values()):
        if candidate.recognizes(path):
            return candidate
    if path.is_file() and path.suffix in TENSOR_SUFFIXES:
        raise ModelError(
            f"{path}: tensors without a shape; name the folder that holds them with its config.json, or a model of the "
            f"same shape: bigfoot convert {path} FOLDER --config CONFIG (a config.json, a model folder or a hub id)"
        )
    raise ModelError(
        f"{path}: no model that is known here: neither a folder with a config.json, nor a file of fairseq's or "
        f"torchaudio's ({', '.join(CHECKPOINT_SUFFIXES)}), nor a folder that holds one such file"
        f"{advise_on_weights(path)}"
    )


def find_weight_files(path: Path) -> list[Path]:
    """Find the files that hold the weights of a model.

    Args:
        path: folder, file or bundle.

    Returns:
        The files; empty where there are none on this machine that we know of.

    Raises:
        ModelError: an index of shards cannot be read, or the folder holds several checkpoints.
    """
    if is_onnx(path):
        return list_graph_files(path)
    file = find_checkpoint(path)
    return [file] if file is not None else weight_files(path)


def _model_type(path: Path) -> str | None:
    file = path / "config.json"
    return str(read_json(file).get("model_type")) if path.is_dir() and file.exists() else None


def _is_native(path: Path) -> bool:
    return _model_type(path) == BigfootConfig.model_type


def _read_native_config(folder: Path) -> BigfootConfig:
    return _native_config(read_json(folder / "config.json"), folder / "config.json")


def _native_config(raw: dict[str, Any], file: Path) -> BigfootConfig:
    # Where a folder carries its own code, our loading does not run it, and the next folder need not carry it.
    raw.pop("auto_map", None)
    try:
        config = BigfootConfig.from_dict(raw)
    except ModelError as error:
        raise ModelError(f"{file}: {error}") from error
    assert isinstance(config, BigfootConfig)
    return config


def _load_native(folder: Path, _: Choices) -> tuple[BigfootForCTC, Processor]:
    config = _read_native_config(folder)
    tensors = BigfootForCTC.restore_weights(config, read_weights(folder), str(folder))
    model = fill_model(config, tensors, str(folder))
    return model, load_completed(folder, config, _head_size(model))


def _outline_native(folder: Path, _: Choices) -> tuple[BigfootConfig, Processor]:
    config = _read_native_config(folder)
    return config, load_completed(folder, config, config.vocab_size if config.ctc_head else None)


def _save_native(model: BigfootForCTC, processor: Processor, folder: Path) -> None:
    try:
        with without_bars():
            model.save_pretrained(folder)
    except SafetensorError as error:
        # A full disk is the system's error, whoever was writing.
        raise OSError(f"{folder}: {error}") from error
    save_processor(processor, folder, _filter_banks(model.config))


def _is_huggingface(path: Path) -> bool:
    return _model_type(path) is not None


def _load_huggingface(folder: Path, choices: Choices) -> tuple[BigfootForCTC, Processor]:
    language = find_language(folder, choices.language)
    model = load_huggingface(folder, language)
    return model, load_completed(folder, model.config, _head_size(model), language)


def _outline_huggingface(folder: Path, choices: Choices) -> tuple[BigfootConfig, Processor]:
    language = find_language(folder, choices.language)
    config = read_config(folder, language)
    return config, load_completed(folder, config, config.vocab_size if config.ctc_head else None, language)


def _head_size(model: BigfootForCTC) -> int | None:
    return None if model.head is None else model.head.out_features


def padding_changes_outputs(config: BigfootConfig) -> bool:
    """Return whether the padding of a batch changes outputs in other libraries' classes of this shape; ours never do.

    A group norm and a batch norm average over it, and several positional convolutions, and those in conformer layers
    that are not causal, carry it inwards.

    Examples:
        >>> padding_changes_outputs(BigfootConfig()), padding_changes_outputs(BigfootConfig(feat_extract_norm="layer"))
        (True, False)
    """
    grouped = config.has_convolutions and config.feat_extract_norm == "group"
    leaks = config.is_conformer and not config.conv_module_causal
    # A last frame without a partner takes its from the padding; convolutions behind the encoder reach into it.
    joined = config.squeeze_factor > 1 or config.add_adapter
    return grouped or leaks or joined or config.has_positional_stack or config.conv_pos_batch_norm


def _padding_caveat(model: BigfootForCTC) -> str | None:
    if not padding_changes_outputs(model.config):
        return None
    return "padding of a batch changes outputs in classes other than bigfoot's; run one utterance at a time there"


def _save_huggingface(model: BigfootForCTC, processor: Processor, folder: Path) -> None:
    save_huggingface(model, folder)
    save_processor(processor, folder, _filter_banks(model.config))


def _filter_banks(config: BigfootConfig) -> FilterBanks | None:
    return None if config.has_convolutions else FilterBanks(config.num_mel_bins, config.mel_stride)


def _load_fairseq(path: Path, choices: Choices) -> tuple[BigfootForCTC, Processor]:
    return load_fairseq(path, choices.dictionary, choices.language)


def _save_fairseq(model: BigfootForCTC, processor: Processor, folder: Path) -> None:
    save_fairseq(model, processor, folder)


def _load_fairseq2(path: Path, choices: Choices) -> tuple[BigfootForCTC, Processor]:
    return load_fairseq2(path, choices.dictionary)


def _save_fairseq2(model: BigfootForCTC, processor: Processor, folder: Path) -> None:
    save_fairseq2(model, processor, folder)


def _is_torchaudio(path: Path) -> bool:
    return str(path).startswith(BUNDLE_PREFIX) or find_checkpoint(path) is not None


def _load_torchaudio(path: Path, _: Choices) -> tuple[BigfootForCTC, Processor]:
    if str(path).startswith(BUNDLE_PREFIX):
        return load_bundle(str(path))
    file = find_checkpoint(path)
    assert file is not None
    tensors = read_state(file)
    if (beside := file.with_name("config.json")).is_file() and whose_names(tensors) != "torchaudio":
        model = build_with_config(tensors, read_config_file(beside), file)
        return model, load_completed(file.parent, model.config, _head_size(model))
    refuse_without_shape(file, tensors)
    return load_torchaudio(file, tensors)


def read_config_file(file: Path) -> BigfootConfig:
    """Read a ``config.json`` of bigfoot's or Hugging Face's, wherever it lies.

    Args:
        file: the file.

    Raises:
        ModelError: it cannot be read, or is of another family.
    """
    raw = read_json(file)
    if raw.get("model_type") == BigfootConfig.model_type:
        return _native_config(raw, file)
    return config_of(raw, file)


def _save_torchaudio(model: BigfootForCTC, processor: Processor, folder: Path) -> None:
    save_torchaudio(model, folder)
    save_processor(processor, folder)


_READ_ALONE = (
    Format("onnx", is_onnx, load_onnx, refuse_to_save, read_outline=outline_onnx),
    Format("whisper", is_whisper, load_whisper, refuse_to_save),
    Format("seq2seq", is_seq2seq, load_seq2seq, refuse_to_save, read_outline=outline_seq2seq),
    Format(
        "transformers_ctc", is_foreign_ctc, load_foreign_ctc, refuse_to_save, read_outline=outline_foreign_ctc
    ),
)  # fmt: skip
# In the order in which they are tried.
FORMATS = {
    format.name: format
    for format in (
        Format("bigfoot", _is_native, _load_native, _save_native, read_outline=_outline_native),
        Format(
            "huggingface", _is_huggingface, _load_huggingface, _save_huggingface,
            read_outline=_outline_huggingface, caveat=_padding_caveat, takes=frozenset({"language"}),
        ),
        Format(
            "fairseq", is_fairseq, _load_fairseq, _save_fairseq,
            caveat=_padding_caveat, takes=frozenset({"dictionary", "language"}),
        ),
        Format(
            "fairseq2", is_fairseq2, _load_fairseq2, _save_fairseq2,
            caveat=_padding_caveat, takes=frozenset({"dictionary"}),
        ),
        Format(
            "torchaudio", _is_torchaudio, _load_torchaudio, _save_torchaudio,
            caveat=_padding_caveat, leaves_out=("masked_spec_embed",),
        ),
    )
}  # fmt: skip
"""Name -> format."""
