"""A shallower decoder: its layers copied as far apart as can be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bigfoot.compress.change import Change
from bigfoot.compress.depth import choose_layers
from bigfoot.compress.registry import technique
from bigfoot.config import Problem
from bigfoot.errors import UnfitError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.decoders.shape import DecoderShape
from bigfoot.models.reshape import load_plain_state, plain_state, reshape_config

_LAYER = re.compile(r"(decoder\.text\.(?:layers|model\.transformer\.h))\.(\d+)\.(.*)")


@dataclass(frozen=True)
class DecoderDepth:
    """How many layers stay.

    Args:
        num_layers: 1 to the decoder's own; chosen by ``spread``, see ``choose_layers``.
    """

    num_layers: int


def count_decoder_layers(config: BigfootConfig) -> int:
    """Return the layers of a model's decoder.

    Args:
        config: the model's shape.

    Raises:
        UnfitError: it has none, or a language model whose layers are not counted as GPT-2's.
    """
    if config.decoder is None:
        raise UnfitError(Problem("num_layers", "no_decoder", "the model has no decoder"))
    shape = DecoderShape.read(config.decoder)
    if shape.kind == "mini_gpt":
        return shape.num_layers
    if "n_layer" not in shape.language_model:
        message = f"the layers of a {shape.language_model['model_type']} cannot be left out; GPT-2's can"
        raise UnfitError(Problem("num_layers", "other_decoder", message))
    return int(shape.language_model["n_layer"])


def shrink_decoder_shape(config: BigfootConfig, num_layers: int) -> BigfootConfig:
    """Return the shape with fewer decoder layers.

    Raises:
        UnfitError: more layers than there are, or see ``count_decoder_layers``.

    Examples:
        >>> shrink_decoder_shape(BigfootConfig(decoder={"num_layers": 6}), 2).decoder
        {'num_layers': 2}
    """
    count = count_decoder_layers(config)
    if not 1 <= num_layers <= count:
        message = f"{num_layers} layers out of range: the decoder has {count}"
        raise UnfitError(Problem("num_layers", "bad_layers", message))
    decoder = dict(config.decoder or {})
    if decoder.get("kind") == "pretrained":
        decoder["language_model"] = decoder["language_model"] | {"n_layer": num_layers}
    else:
        decoder["num_layers"] = num_layers
    return reshape_config(config, decoder=decoder)


def _reshape(shape: BigfootConfig, config: DecoderDepth) -> BigfootConfig:
    return shrink_decoder_shape(shape, config.num_layers)


@technique("decoder_depth", DecoderDepth, _reshape)
def apply(
    model: BigfootForCTC, config: DecoderDepth, audio: Sequence[object] = ()
) -> tuple[BigfootForCTC, Change]:
    """Build a model with a shallower decoder, both ends kept (Gandhi et al., 2023, section 3).

    Args:
        model: with a decoder, left as it is.
        config: how many layers stay.
        audio: not read.

    Returns:
        The new model in eval mode, and what was kept and dropped.

    Raises:
        UnfitError: no decoder, or fewer layers than are to stay.
    """
    count = count_decoder_layers(model.config)
    layers = choose_layers(count, config.num_layers, "spread")
    student = BigfootForCTC(shrink_decoder_shape(model.config, config.num_layers))
    state = {}
    for name, tensor in plain_state(model).items():
        found = _LAYER.match(name)
        if found is None:
            state[name] = tensor
        elif int(found[2]) in layers:
            state[f"{found[1]}.{layers.index(int(found[2]))}.{found[3]}"] = tensor
    load_plain_state(student, state)
    dropped = [layer for layer in range(count) if layer not in layers]
    kept = [f"layers {layers} of the decoder's {count}"]
    return student.eval(), Change("decoder depth", kept, [f"layers {dropped}"] if dropped else [])
