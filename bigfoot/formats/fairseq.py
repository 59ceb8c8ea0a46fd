"""fairseq's checkpoints: wav2vec2, HuBERT, data2vec-audio and WavLM both ways; UniSpeech, SEW and MMS are read.

Read without fairseq, and without running anything that the file asks for (see ``safe_pickle``). Heads of pre-training
are dropped, and reported; ``mask_emb`` is our ``masked_spec_embed`` and stays.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from bigfoot.errors import ModelError
from bigfoot.formats.checkpoint import find_checkpoint
from bigfoot.formats.dense import advise_format
from bigfoot.formats.fairseq_dictionary import find_dictionary, order_for_fairseq
from bigfoot.formats.fairseq_languages import with_language
from bigfoot.formats.fairseq_names import LINEAR, PRETRAINING, is_of_adapter, tensor_names
from bigfoot.formats.fairseq_settings import (
    PLACEHOLDER_DIM,
    WRITTEN,
    Settings,
    config_of,
    read_settings,
    write_settings,
)
from bigfoot.formats.filling import fill_model, in_fp32
from bigfoot.formats.state_dict import whose_names
from bigfoot.formats.torch_file import is_torch_file, open_torch_file
from bigfoot.formats.torch_layout import StoredTensor
from bigfoot.models.configuration import BIGFOOT_PREFIX, BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.notices import warn_once
from bigfoot.models.shape_checks import beyond_huggingface
from bigfoot.text.json_fields import SampleRate
from bigfoot.text.tokenizer import Tokenizer
from bigfoot.text.tokenizers import CharTokenizer, Processor
from bigfoot.types import SAMPLE_RATE

_FILE, _DICTIONARY = "checkpoint.pt", "dict.ltr.txt"
_ENCODER, _HEAD = "w2v_encoder.w2v_model.", "w2v_encoder.proj."
# Newer PyTorch names weight_norm so.
_WEIGHT_NORM = {
    "pos_conv.0.parametrizations.weight.original0": "pos_conv.0.weight_g",
    "pos_conv.0.parametrizations.weight.original1": "pos_conv.0.weight_v",
}
# A token that fairseq has and we lack must never be the best of a frame.
_NEVER = -1e4


def is_fairseq(path: Path) -> bool:
    """Return whether a path is a fairseq checkpoint, or a folder that holds one and no ``config.json``.

    Only the structure of the file is read, not its tensors.

    Args:
        path: file or folder.

    Raises:
        ModelError: it is a PyTorch file that cannot be read, or asks for what no checkpoint holds.
    """
    file = find_checkpoint(path)
    return file is not None and is_torch_file(file) and _is_checkpoint(open_torch_file(file).content)


def _is_checkpoint(content: object) -> bool:
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        return False
    has_settings = content.get("args") is not None or content.get("cfg") is not None
    # A training script of a user may keep its arguments beside a model of transformers'.
    return has_settings and whose_names(str(name) for name in content["model"]) != "transformers"


def load_fairseq(
    path: Path, dictionary: Path | None = None, language: str | None = None
) -> tuple[BigfootForCTC, Processor]:
    """Load a fairseq checkpoint exactly, with its CTC head if it has one.

    Args:
        path: a file, or a folder with one.
        dictionary: its ``dict.ltr.txt``; None to search beside the file, then in it.
        language: one of several (MMS), whose head and adapters are read; None where there are none.

    Returns:
        The model in fp32 and eval mode, and the processor; its tokenizer is None where no dictionary was found.

    Raises:
        ModelError: no checkpoint of fairseq's, unsafe to read, of an unknown shape, or weights that do not fit.
    """
    file = find_checkpoint(path)
    if file is None:
        raise ModelError(f"{path}: no checkpoint of fairseq's, nor a folder with one (.pt)")
    opened = open_torch_file(file)
    content = opened.content
    if not _is_checkpoint(content):
        raise ModelError(f"{file}: a checkpoint of fairseq's holds model and cfg (or args); this file does not")
    assert isinstance(content, dict)
    content = with_language(content, language, file)
    settings = read_settings(content, str(file))
    encoder, head = _split(_stored_tensors(content["model"], file, settings), file)
    tensors = _one_adapter(opened.read(encoder | head), file)
    vocab_size = head["weight"].shape[0] if head else None
    config = config_of(settings, _family(settings, encoder), vocab_size, str(file))
    model = fill_model(config, _rename(tensors, config), str(file))
    tokenizer = find_dictionary(file, content, settings.task.get("labels"), dictionary) if head else None
    if tokenizer is not None and len(tokenizer) != vocab_size:
        raise ModelError(f"{file}: its head has {vocab_size} rows, its dictionary {len(tokenizer)} symbols")
    return model, _processor(settings, tokenizer, config, file)


def _processor(
    settings: Settings, tokenizer: CharTokenizer | None, config: BigfootConfig, file: Path
) -> Processor:
    # WavLM's file has no such field, and one that fairseq fills in at run time is none.
    rate = settings.task.get("sample_rate")
    rate = rate if isinstance(rate, int) else SAMPLE_RATE
    if problem := SampleRate().problem("sample_rate", rate):
        raise ModelError(f"{file}: {problem}")
    return Processor(
        tokenizer=tokenizer,
        do_normalize=settings.normalize,
        sample_rate=rate,
        # Where all layers have a layer norm, plain transformers' class was trained with masks.
        return_attention_mask=config.feat_extract_norm == "layer",
    )


def _stored_tensors(model: object, file: Path, settings: Settings) -> dict[str, StoredTensor]:
    """Return the tensors of the model that we have a place for; heads of pre-training are dropped, and named."""
    assert isinstance(model, dict)
    # Where bigfoot wrote the file, there are heads of zeros, for fairseq builds them.
    placeholders = settings.encoder.get("final_dim") == PLACEHOLDER_DIM
    kept, dropped = {}, set()
    for name, value in model.items():
        bare = str(name).removeprefix(_ENCODER)
        if bare.startswith(PRETRAINING):
            # fairseq wants an entry where there is no head, too: it has no numbers.
            if not isinstance(value, StoredTensor) or 0 not in value.shape:
                dropped.add(next(start for start in PRETRAINING if bare.startswith(start)).strip("."))
        elif isinstance(value, StoredTensor):
            kept[str(name)] = value
        else:
            raise ModelError(f"{file}: {name} in its model is no tensor")
    if dropped and not placeholders:
        warn_once(f"{file}: its pre-training head was left out: {', '.join(sorted(dropped))}")
    return kept


_Any = TypeVar("_Any", StoredTensor, Tensor)


def _split(stored: dict[str, _Any], file: Path) -> tuple[dict[str, _Any], dict[str, _Any]]:
    """Tensors of the encoder by fairseq's bare names, and of the head as ``weight`` and ``bias``."""
    if any(name.startswith("decoder.") for name in stored):
        raise ModelError(f"{file}: a model with a decoder; only CTC heads are read")
    head = {name.removeprefix(_HEAD): tensor for name, tensor in stored.items() if name.startswith(_HEAD)}
    if head and (set(head) != set(LINEAR) or len(head["weight"].shape) != 2):
        raise ModelError(f"{file}: its head has {', '.join(sorted(head))}, expected weight (V, D) and bias")
    encoder = {}
    for name, tensor in stored.items():
        if not name.startswith(_HEAD):
            bare = name.removeprefix(_ENCODER)
            for new, old in _WEIGHT_NORM.items():
                bare = bare.replace(new, old)
            encoder[bare] = tensor
    return encoder, head


def _one_adapter(tensors: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Return tensors of layers' adapters without the dimension over several, of which there must be one."""
    numbers = {len(tensor) for name, tensor in tensors.items() if is_of_adapter(name) and tensor.ndim}
    if numbers - {1}:
        raise ModelError(f"{file}: layers with {max(numbers)} adapters; files with one a layer, as MMS has, are read")
    return {name: tensor[0] if is_of_adapter(name) and tensor.ndim else tensor for name, tensor in tensors.items()}


def _family(settings: Settings, encoder: dict[str, StoredTensor]) -> str:
    if any(name.endswith(".grep_a") for name in encoder):
        return "wavlm"
    return "data2vec-audio" if "encoder.pos_conv.1.0.weight" in encoder else settings.family


def _rename(tensors: dict[str, Tensor], config: BigfootConfig) -> dict[str, Tensor]:
    """Our names; what the table does not know keeps its own, and is listed as left over."""
    prefix = config.weight_prefix
    ours = {theirs: f"{prefix}.{ours}" for ours, theirs in tensor_names(config)}
    head = f"{BIGFOOT_PREFIX}_lm_head" if prefix == BIGFOOT_PREFIX else "lm_head"
    ours |= {kind: f"{head}.{kind}" for kind in LINEAR}
    named = in_fp32({ours.get(name, name): tensor for name, tensor in tensors.items()})
    projected = config.feature_projection == "linear"
    if projected and "post_extract_proj.weight" not in tensors and config.conv_dim[-1] == config.hidden_size:
        # fairseq leaves a projection out that would not change the width; ours is then one that changes nothing.
        named[ours["post_extract_proj.weight"]] = torch.eye(config.hidden_size)
        named[ours["post_extract_proj.bias"]] = torch.zeros(config.hidden_size)
    return named


def rename_state(state: dict[str, Tensor], config: BigfootConfig, file: Path) -> dict[str, Tensor]:
    """Rename a state dict of fairseq's, which came without its settings, to our names.

    Args:
        state: by fairseq's names; a pre-training head is left out.
        config: the shape.
        file: where they come from, for messages.

    Raises:
        ModelError: the head has other parts than a weight and a bias.
    """
    kept = {name: each for name, each in state.items() if not name.removeprefix(_ENCODER).startswith(PRETRAINING)}
    encoder, head = _split(kept, file)
    return _rename(encoder | head, config)


def save_fairseq(model: BigfootForCTC, processor: Processor, folder: Path) -> Path:
    """Write a checkpoint that fairseq loads: ``checkpoint.pt``, and ``dict.ltr.txt`` where there is a CTC head.

    fairseq wants the folder with the dictionary as ``arg_overrides={"data": folder}``.

    Args:
        model: of a shape that fairseq can express.
        processor: its normalization goes into the settings, its vocabulary into the dictionary.
        folder: made if missing.

    Returns:
        The checkpoint.

    Raises:
        ModelError: fairseq cannot express it; the parts are named.
    """
    config = model.config
    if beyond := _beyond_fairseq(config):
        raise ModelError(
            f"fairseq cannot express {' and '.join(beyond)}; {advise_format(config, _beyond_fairseq)}"
        )
    if config.family == "wavlm" and model.head is not None:
        raise ModelError(
            "the format of WavLM's authors has no place for a CTC head; leave the head out (bigfoot convert "
            "--drop-head), or write bigfoot or huggingface"
        )
    settings = write_settings(config, processor.do_normalize, processor.sample_rate)
    state = _encoder_state(model)
    symbols: list[str] = []
    if model.head is not None:
        head, symbols = _head_state(model.head, processor.tokenizer)
        state = {f"{_ENCODER}{name}": tensor for name, tensor in state.items()} | head
    elif config.family != "wavlm":
        state |= _empty_heads(config)
    if config.family == "hubert":
        state[f"{_ENCODER if model.head is not None else ''}label_embs_concat"] = torch.zeros(0, 1)
    folder.mkdir(parents=True, exist_ok=True)
    content: dict[str, object] = {"cfg": settings, "model": state}
    if config.family != "wavlm":
        history = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 0}
        content |= {"args": None, "optimizer_history": [history], "task_state": {}}
        content |= {"extra_state": {"train_iterator": {"epoch": 1}}, "last_optimizer_state": None}
    torch.save(content, folder / _FILE)
    if model.head is not None:
        lines = "".join(f"{symbol} 1\n" for symbol in symbols)
        (folder / _DICTIONARY).write_text(lines, encoding="utf-8")
    return folder / _FILE


def _beyond_fairseq(config: BigfootConfig) -> list[str]:
    if config.family not in WRITTEN:
        return [f"the family {config.family} (it has {', '.join(WRITTEN)})"]
    beyond = beyond_huggingface(config)
    if config.layer_norm_eps != 1e-5:
        beyond.append(f"layer_norm_eps {config.layer_norm_eps}")
    if config.adapter_attn_dim is not None:
        beyond.append(f"adapters of layers (adapter_attn_dim {config.adapter_attn_dim})")
    if config.add_adapter:
        beyond.append(f"convolutions behind the encoder (num_adapter_layers {config.num_adapter_layers})")
    if not config.feat_proj_layer_norm:
        beyond.append("features that are projected without a norm (feat_proj_layer_norm)")
    return beyond


def _encoder_state(model: BigfootForCTC) -> dict[str, Tensor]:
    config, state = model.config, model.speech_encoder.state_dict()
    if "masked_spec_embed" not in state:
        # In fairseq every model has one; it is used in training only.
        state["masked_spec_embed"] = torch.zeros(config.hidden_size)
    named = {theirs: state[ours].detach().cpu().clone() for ours, theirs in tensor_names(config)}
    if config.conv_dim[-1] == config.hidden_size and config.family != "data2vec-audio":
        weight, bias = named.pop("post_extract_proj.weight"), named.pop("post_extract_proj.bias")
        if not torch.equal(weight, torch.eye(config.hidden_size)) or bias.any():
            raise ModelError(
                f"fairseq has no projection between convolutions and encoder of one width ({config.hidden_size}), and "
                "this model's changes the features; keep the bigfoot format"
            )
    return named


def _head_state(head: torch.nn.Linear, tokenizer: Tokenizer | None) -> tuple[dict[str, Tensor], list[str]]:
    if tokenizer is None or len(tokenizer) != head.out_features:
        count = "no" if tokenizer is None else len(tokenizer)
        raise ModelError(f"fairseq needs a dictionary: the head has {head.out_features} rows, the vocabulary {count}")
    if not isinstance(tokenizer, CharTokenizer):
        raise ModelError(f"fairseq's dictionaries hold characters, not {tokenizer.describe()}; keep the bigfoot format")
    if tokenizer.lower_case or tokenizer.space != " ":
        raise ModelError(
            "fairseq's dictionaries cannot express texts in lower case (do_lower_case) or with another "
            "space (replace_word_delimiter_char); keep the bigfoot format"
        )
    order, symbols = order_for_fairseq(tokenizer)
    weight = torch.zeros(len(order), head.in_features)
    bias = torch.full((len(order),), _NEVER)
    for row, ours in enumerate(order):
        if ours is not None:
            weight[row], bias[row] = head.weight[ours].detach(), head.bias[ours].detach()
    return {f"{_HEAD}weight": weight, f"{_HEAD}bias": bias}, symbols


def _empty_heads(config: BigfootConfig) -> dict[str, Tensor]:
    """Zeros where fairseq builds a head of pre-training whether it is used or not."""
    wide = config.hidden_size if config.family == "data2vec-audio" else 1
    heads = {"final_proj": (wide, config.hidden_size)}
    if config.family == "wav2vec2":
        heads["project_q"] = (1, config.conv_dim[-1])
    zeros = {f"{name}.weight": torch.zeros(shape) for name, shape in heads.items()}
    return zeros | {f"{name}.bias": torch.zeros(shape[0]) for name, shape in heads.items()}
