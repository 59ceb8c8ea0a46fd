"""Taking a pretrained language model from its folder into the decoder of a speech model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bigfoot.errors import ModelError
from bigfoot.formats.huggingface import fetch_folder
from bigfoot.formats.weight_files import read_weights
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.decoders.pretrained import PretrainedDecoder
from bigfoot.models.decoders.shape import DecoderShape
from bigfoot.models.finite import find_non_finite
from bigfoot.models.reshape import with_decoder
from bigfoot.text.huggingface import HuggingFaceTokenizer, load_huggingface_tokenizer
from bigfoot.text.json_files import read_json

_BUFFERS = (".attn.bias", ".attn.masked_bias")
"""Masks that old checkpoints carry along."""


def with_language_model(
    model: BigfootForCTC, shape: dict[str, Any], name: str | Path, seed: int
) -> tuple[BigfootForCTC, HuggingFaceTokenizer]:
    """Build a model with the same encoder and head, and a pretrained language model as its decoder.

    Args:
        model: left as it is.
        shape: fields of ``DecoderShape``; ``kind`` and ``language_model`` are filled in.
        name: folder or id of a causal language model with a ``tokenizer.json``.
        seed: of the weights that are new: cross-attention and projections.

    Returns:
        The new model in eval mode, and the tokenizer of its decoder.

    Raises:
        ModelError: no such folder, weights that do not fit, or a model that a closed gate does not leave as it was.
    """
    folder = fetch_folder(str(name))
    language_model = read_json(folder / "config.json")
    tokenizer = load_huggingface_tokenizer(folder)
    tensors = read_weights(folder)
    wanted = shape | {"kind": "pretrained", "language_model": language_model}
    DecoderShape.read(wanted)
    with torch.device("meta"):
        # A configuration may claim any size: nothing is built before the weights are seen to be its own.
        _match(PretrainedDecoder(language_model), tensors, folder)
    renewed = with_decoder(model, wanted, seed)
    assert renewed.decoder is not None
    decoder = renewed.decoder.text
    assert isinstance(decoder, PretrainedDecoder)
    for parameter, tensor in _match(decoder, tensors, folder):
        parameter.data.copy_(tensor)
    _check_gates(decoder, folder)
    return renewed, tokenizer


def _plain(name: str) -> str:
    """Return a tensor's name whether or not it has a prefix, and an adapter around it."""
    return name.replace(".base_layer", "").removeprefix("transformer.")


def _match(decoder: PretrainedDecoder, tensors: dict[str, Tensor], folder: Path) -> list[tuple[Tensor, Tensor]]:
    """Each parameter that the language model had before with its value in the folder, to the last one."""
    given = {_plain(name): tensor for name, tensor in tensors.items() if not name.endswith(_BUFFERS)}
    own = {_plain(name): parameter for name, parameter in decoder.model.named_parameters() if not _is_added(name)}
    tied = {"lm_head.weight"} - own.keys()
    faults = [f"missing {name}" for name in own.keys() - given.keys()]
    faults += [f"left over {name}" for name in given.keys() - own.keys() - tied]
    faults += [name for name in own.keys() & given.keys() if own[name].shape != given[name].shape]
    faults += find_non_finite(given)
    if faults:
        raise ModelError(f"{folder}: its weights do not fit its configuration:\n  " + "\n  ".join(sorted(faults)))
    return [(parameter, given[name]) for name, parameter in own.items()]


def _is_added(name: str) -> bool:
    return any(part in name for part in ("crossattention", "cross_attn", "lora_"))


@torch.no_grad()
def _check_gates(decoder: PretrainedDecoder, folder: Path) -> None:
    """Check that audio makes no difference yet."""
    tokens = torch.tensor([[decoder.begin_id, 0, 1]])
    memory = torch.randn(1, 4, decoder.hidden_size, generator=torch.Generator().manual_seed(0))
    was_training = decoder.training
    decoder.eval()
    gap = float((decoder(tokens, memory) - decoder(tokens, None)).abs().max())
    decoder.train(was_training)
    if not gap <= 1e-5:
        raise ModelError(
            f"{folder}: with its gates closed the outputs of the model still depend on the audio ({gap:.1e}): "
            "its cross-attention cannot be gated; take GPT-2 or a model of its family"
        )
