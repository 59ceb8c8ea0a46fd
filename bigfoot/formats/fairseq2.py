"""fairseq2's checkpoints of wav2vec2, both ways; Omnilingual ASR's CTC models and encoders are such files.

Read without fairseq2, and without running anything that the file asks for. Names are those of fairseq2 0.8's state
dicts, tried with its own models. A CTC head is ``final_proj``, its blank the first row; the vocabulary is a model of
characters of sentencepiece's beside the file. Heads of pre-training are dropped, and reported.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from bigfoot.errors import ModelError
from bigfoot.formats.checkpoint import find_checkpoint
from bigfoot.formats.dense import advise_format
from bigfoot.formats.fairseq2_shape import (
    CARD,
    EXTRACTOR,
    FRONT,
    HEAD,
    MASK,
    POSITIONS,
    read_card,
    read_shape,
    write_card,
)
from bigfoot.formats.fairseq2_vocabulary import find_vocabulary, order_for_fairseq2
from bigfoot.formats.filling import fill_model, in_fp32
from bigfoot.formats.state_dict import find_state
from bigfoot.formats.torch_file import is_torch_file, open_torch_file
from bigfoot.formats.torch_layout import StoredTensor
from bigfoot.models.configuration import BIGFOOT_PREFIX, BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.notices import warn_once
from bigfoot.models.shape_checks import beyond_huggingface
from bigfoot.text.sentencepiece_model import write_pieces
from bigfoot.text.tokenizer import Tokenizer
from bigfoot.text.tokenizers import Processor
from bigfoot.types import SAMPLE_RATE

_FILE, _VOCABULARY = "model.pt", "tokenizer.model"
_PRETRAINING = ("quantizer.", "final_target_proj.")
_LINEAR = ("weight", "bias")
_WEIGHT_NORM = {
    f"{POSITIONS}parametrizations.weight.original0": f"{POSITIONS}weight_g",
    f"{POSITIONS}parametrizations.weight.original1": f"{POSITIONS}weight_v",
}
_PROJECTION = f"{FRONT}model_dim_proj"
_LAYER_PARTS = {
    "attention.k_proj": "self_attn.k_proj",
    "attention.v_proj": "self_attn.v_proj",
    "attention.q_proj": "self_attn.q_proj",
    "attention.out_proj": "self_attn.output_proj",
    "layer_norm": "self_attn_layer_norm",
    "feed_forward.intermediate_dense": "ffn.inner_proj",
    "feed_forward.output_dense": "ffn.output_proj",
    "final_layer_norm": "ffn_layer_norm",
}
# A token that sentencepiece needs and we lack must never be the best of a frame.
_NEVER = -1e4


def tensor_names(config: BigfootConfig) -> Iterator[tuple[str, str]]:
    """Return every tensor of an encoder as (our name without its prefix, fairseq2's).

    Args:
        config: the shape.
    """
    yield "masked_spec_embed", MASK
    positional = "encoder.pos_conv_embed.conv."
    yield f"{positional}parametrizations.weight.original0", f"{POSITIONS}weight_g"
    yield f"{positional}parametrizations.weight.original1", f"{POSITIONS}weight_v"
    yield f"{positional}bias", f"{POSITIONS}bias"
    last = "encoder.layer_norm" if config.do_stable_layer_norm else f"{FRONT}layer_norm"
    pairs = {
        "feature_projection.layer_norm": f"{FRONT}post_extract_layer_norm",
        "feature_projection.projection": _PROJECTION,
        "encoder.layer_norm": last,
    }
    for index in range(config.num_conv_layers):
        ours, theirs = f"feature_extractor.conv_layers.{index}.", f"{EXTRACTOR}{index}."
        yield f"{ours}conv.weight", f"{theirs}conv.weight"
        if config.conv_bias:
            yield f"{ours}conv.bias", f"{theirs}conv.bias"
        if config.feat_extract_norm == "layer" or index == 0:
            pairs[f"{ours}layer_norm"] = f"{theirs}{config.feat_extract_norm}_norm"
    for index in range(config.num_hidden_layers):
        layer = f"encoder.layers.{index}."
        pairs |= {f"{layer}{ours}": f"{layer}{theirs}" for ours, theirs in _LAYER_PARTS.items()}
    yield from ((f"{ours}.{kind}", f"{theirs}.{kind}") for ours, theirs in pairs.items() for kind in _LINEAR)


def is_fairseq2(path: Path) -> bool:
    """Return whether a path is a fairseq2 checkpoint of wav2vec2, or a folder that holds one and no ``config.json``.

    Args:
        path: file or folder.

    Raises:
        ModelError: it is a PyTorch file that cannot be read, or asks for what no checkpoint holds.
    """
    file = find_checkpoint(path)
    return file is not None and is_torch_file(file) and _find_state(open_torch_file(file).content) is not None


def _find_state(content: object) -> dict[str, StoredTensor] | None:
    state = find_state(content)
    return state if state and any(f"{FRONT}" in name for name in state) else None


def load_fairseq2(path: Path, vocabulary: Path | None = None) -> tuple[BigfootForCTC, Processor]:
    """Load a fairseq2 checkpoint exactly, with its CTC head if it has one.

    Args:
        path: a file, or a folder with one; ``model.yaml`` beside it has what tensors do not show.
        vocabulary: sentencepiece's model; None to search beside the file.

    Returns:
        The model in fp32 and eval mode, and the processor; its tokenizer is None where no vocabulary was found.

    Raises:
        ModelError: unsafe to read, of an unknown shape, or weights that do not fit.
    """
    file = find_checkpoint(path)
    opened = None if file is None else open_torch_file(file)
    state = None if opened is None else _find_state(opened.content)
    if file is None or opened is None or state is None:
        raise ModelError(f"{path}: no checkpoint of fairseq2's wav2vec2, nor a folder with one (.pt)")
    kept, has_head = _without_pretraining(state, file)
    card = read_card(file.parent / CARD)
    sizes = {_bare(name): tensor.shape for name, tensor in kept.items()}
    config = read_shape(sizes, card.get("model_config", {}), has_head, str(file))
    model = fill_model(config, rename_fairseq2(opened.read(kept), config), str(file))
    tokenizer = None
    if model.head is not None:
        tokenizer = find_vocabulary(file, vocabulary)
        if tokenizer is not None and len(tokenizer) != model.head.out_features:
            rows = model.head.out_features
            raise ModelError(f"{file}: its head has {rows} rows, its vocabulary {len(tokenizer)} pieces")
    layered, normalized = config.feat_extract_norm == "layer", card.get("normalize_audio")
    # Without a word of ours as in their recipes: of encoders whose convolutions all have a norm.
    normalizes = normalized if isinstance(normalized, bool) else layered
    return model, Processor(tokenizer, do_normalize=normalizes, return_attention_mask=layered)


_Any = TypeVar("_Any", StoredTensor, Tensor)


def _without_pretraining(state: Mapping[str, _Any], file: Path) -> tuple[dict[str, _Any], bool]:
    """Tensors that we have a place for, and whether there is a CTC head; heads of pre-training are named."""
    pretrained = any(_bare(name).startswith(_PRETRAINING) for name in state)
    gone = (*_PRETRAINING, f"{HEAD}.") if pretrained else ()
    dropped = sorted({_bare(name).partition(".")[0] for name in state if _bare(name).startswith(gone)})
    if pretrained:
        warn_once(f"{file}: its pre-training head was left out: {', '.join(dropped)}")
    kept = {name: tensor for name, tensor in state.items() if not gone or not _bare(name).startswith(gone)}
    return kept, not pretrained and any(_bare(name) == f"{HEAD}.weight" for name in state)


def _bare(name: str) -> str:
    name = name.removeprefix("module.")
    return _WEIGHT_NORM.get(name, name)


def rename_fairseq2(tensors: Mapping[str, Tensor], config: BigfootConfig) -> dict[str, Tensor]:
    """Rename tensors to our names; what is unknown keeps its own, and is listed as left over.

    Args:
        tensors: by fairseq2's names.
        config: the shape.
    """
    prefix = config.weight_prefix
    ours = {theirs: f"{prefix}.{ours}" for ours, theirs in tensor_names(config)}
    head = f"{BIGFOOT_PREFIX}_lm_head" if prefix == BIGFOOT_PREFIX else "lm_head"
    ours |= {f"{HEAD}.{kind}": f"{head}.{kind}" for kind in _LINEAR}
    named = in_fp32({ours.get(_bare(name), name): tensor for name, tensor in tensors.items()})
    if f"{_PROJECTION}.weight" not in map(_bare, tensors) and config.conv_dim[-1] == config.hidden_size:
        # fairseq2 leaves a projection out that would not change the width; ours is then one that changes nothing.
        named[ours[f"{_PROJECTION}.weight"]] = torch.eye(config.hidden_size)
        named[ours[f"{_PROJECTION}.bias"]] = torch.zeros(config.hidden_size)
    return named


def save_fairseq2(model: BigfootForCTC, processor: Processor, folder: Path) -> Path:
    """Write what fairseq2 loads: ``model.pt``, its card ``model.yaml``, and ``tokenizer.model`` for a CTC head.

    Args:
        model: of a shape that fairseq2 can express.
        processor: its vocabulary becomes sentencepiece's model of characters.
        folder: made if missing.

    Returns:
        The checkpoint.

    Raises:
        ModelError: fairseq2 cannot express it; the parts are named.
    """
    config = model.config
    if beyond := _beyond_fairseq2(config):
        advice = advise_format(config, _beyond_fairseq2)
        raise ModelError(f"fairseq2's wav2vec2 cannot express {' and '.join(beyond)}; {advice}")
    state, card, written = _encoder_state(model), write_card(config), b""
    if model.head is not None:
        head, written = _head_state(model.head, processor.tokenizer)
        card["model_config"]["target_vocab_size"] = len(head[f"{HEAD}.weight"])
        state |= head
    if processor.sample_rate != SAMPLE_RATE:
        rate = processor.sample_rate
        raise ModelError(f"fairseq2's wav2vec2 reads audio at {SAMPLE_RATE} Hz, and this model at {rate} Hz")
    # A word that fairseq2 passes over: its audio is normalized by its dataset's settings.
    card["normalize_audio"] = processor.do_normalize
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"model": state}, folder / _FILE)
    # JSON is YAML.
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    if written:
        (folder / _VOCABULARY).write_bytes(written)
    return folder / _FILE


def _beyond_fairseq2(config: BigfootConfig) -> list[str]:
    beyond = beyond_huggingface(config)
    granted = {"layer_norm_eps": 1e-5, "hidden_act": "gelu", "feat_extract_activation": "gelu"}
    beyond += [f"{name} {getattr(config, name)!r}" for name, only in granted.items() if getattr(config, name) != only]
    if config.family != "wav2vec2":
        beyond.append(f"the family {config.family}")
    if config.adapter_attn_dim is not None:
        beyond.append(f"adapters of layers (adapter_attn_dim {config.adapter_attn_dim})")
    if config.add_adapter:
        beyond.append(f"convolutions behind the encoder (num_adapter_layers {config.num_adapter_layers})")
    return beyond


def _encoder_state(model: BigfootForCTC) -> dict[str, Tensor]:
    config, state = model.config, model.speech_encoder.state_dict()
    pairs = {theirs: ours for ours, theirs in tensor_names(config)}
    if "masked_spec_embed" not in state:
        del pairs[MASK]
    named = {theirs: state[ours].detach().cpu().clone() for theirs, ours in pairs.items()}
    if config.conv_dim[-1] == config.hidden_size:
        weight, bias = named.pop(f"{_PROJECTION}.weight"), named.pop(f"{_PROJECTION}.bias")
        if not torch.equal(weight, torch.eye(config.hidden_size)) or bias.any():
            raise ModelError(
                f"fairseq2 has no projection between convolutions and encoder of one width ({config.hidden_size}), and "
                "this model's changes the features; keep the bigfoot format"
            )
    return named


def _head_state(head: torch.nn.Linear, tokenizer: Tokenizer | None) -> tuple[dict[str, Tensor], bytes]:
    if tokenizer is None or len(tokenizer) != head.out_features:
        count = "no" if tokenizer is None else len(tokenizer)
        raise ModelError(f"fairseq2 needs a vocabulary: the head has {head.out_features} rows, the vocabulary {count}")
    order, pieces = order_for_fairseq2(tokenizer)
    weight = torch.zeros(len(order), head.in_features)
    bias = torch.full((len(order),), _NEVER)
    for row, ours in enumerate(order):
        if ours is not None:
            weight[row], bias[row] = head.weight[ours].detach(), head.bias[ours].detach()
    return {f"{HEAD}.weight": weight, f"{HEAD}.bias": bias}, write_pieces(pieces)
