"""Compute hidden states, one recording at a time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from bigfoot.config import Problem
from bigfoot.decoding.hypotheses import LogProbs
from bigfoot.errors import ConfigError, ModelError
from bigfoot.formats.folder import LoadedModel
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.speech_llm.adapters import Adapter
from bigfoot.types import Samples

ALL, LAST, ADAPTER = "all", "last", "adapter"
POOLS = ("mean", "none")


def read_layer(layer: str, num_layers: int, *, adapter: bool = False) -> int | str:
    """Parse and check a layer.

    Args:
        layer: ``last`` (the head's input), ``all``, or a number: 0 is the input of the first layer, L the output of the
            last.
        num_layers: L.
        adapter: whether there is one, of a speech LLM: then ``adapter`` is what its language model takes.

    Returns:
        The number, or the word.

    Raises:
        ConfigError: the layer does not exist.

    Examples:
        >>> read_layer("3", 12), read_layer("all", 12)
        (3, 'all')
    """
    if layer in (ALL, LAST) or (layer == ADAPTER and adapter):
        return layer
    if layer.isdecimal() and len(layer) < 10 and int(layer) <= num_layers:
        return int(layer)
    known = "last, all, adapter" if adapter else "last, all"
    message = f"{layer!r} is none of {known}, and 0 to {num_layers}"
    raise ConfigError([Problem("--layer", "unknown_word", message)])


@dataclass(frozen=True)
class EncodedAudio:
    """Outputs of the model for one stretch of audio.

    Args:
        states: (T, D); (L+1, T, D) of all layers; (T', M) of an adapter.
        log_probs: (T, V) of the CTC head; None without one.
    """

    states: npt.NDArray[np.float32]
    log_probs: LogProbs | None


@torch.no_grad()
def encode(model: BigfootForCTC, samples: Samples, layer: int | str, adapter: Adapter | None = None) -> EncodedAudio:
    """Compute hidden states of one stretch of audio, outside any batch, so that they do not depend on one.

    Args:
        model: in eval mode.
        samples: (N,) normalized as by the processor; at least one frame.
        layer: of ``read_layer``.
        adapter: of a speech LLM, for the layer ``adapter``.

    Raises:
        ModelError: the hidden states are not finite.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> encode(load_model("tiny_teacher").model, np.zeros(16000, np.float32), 0).states.shape
        (49, 128)
    """
    values = torch.from_numpy(samples)[None].to(model.device)
    output = model(values, output_hidden_states=layer not in (LAST, ADAPTER))
    assert output.last_hidden_state is not None
    if layer == ADAPTER:
        assert adapter is not None
        last = output.last_hidden_state
        states = adapter(last, torch.ones(last.shape[:2], dtype=torch.bool, device=last.device))[0][0]
    elif output.hidden_states is None:
        states = output.last_hidden_state[0]
    elif isinstance(layer, int):
        states = output.hidden_states[layer][0]
    else:
        states = torch.cat(output.hidden_states)
    if not bool(states.isfinite().all()):
        raise ModelError("the model's hidden states are not finite; its weights are damaged")
    log_probs = None if output.logits is None else output.logits[0].float().log_softmax(-1).cpu().numpy()
    return EncodedAudio(states.float().cpu().numpy(), log_probs)


def digest_model(loaded: LoadedModel) -> str:
    """Compute the digest of everything that determines a model's outputs.

    Args:
        loaded: weights, shape and preprocessing.
    """
    digest = hashlib.sha256(loaded.model.config.to_json_string().encode())
    processor = loaded.processor
    vocabulary = None if processor.tokenizer is None else processor.tokenizer.vocabulary
    digest.update(repr((processor.do_normalize, processor.sample_rate, vocabulary)).encode())
    adapter = {} if loaded.adapter is None else {f"adapter.{k}": v for k, v in loaded.adapter.state_dict().items()}
    for name, tensor in sorted({**loaded.model.state_dict(), **adapter}.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
