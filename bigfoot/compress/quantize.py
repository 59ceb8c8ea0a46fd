"""Fewer bytes for weights, and eight-bit integers for what goes into layers: which can have them, and their ranges.

A weight has one scale for each output channel and no offset; what goes into a layer has one scale and one offset,
measured on real audio (static) or taken from the audio itself while the model runs (dynamic).
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bigfoot.compress.audio import Waveforms, one_by_one
from bigfoot.compress.change import Change
from bigfoot.compress.registry import technique
from bigfoot.compress.settings import Quantize, percentile_problem
from bigfoot.config import Problem
from bigfoot.errors import UnfitError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.fake_int8 import int8_layers
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.models.reshape import with_small_weights
from bigfoot.models.small_weights import PRECISIONS, SmallWeights, matches, split_name

TARGETS = ("float32", *PRECISIONS)
_SAMPLED = 65_536


class Range(NamedTuple):
    """Lowest and highest number that a layer is prepared for."""

    low: float
    high: float


@dataclass(frozen=True)
class Int8Plan:
    """Which layers compute in int8, and how their input is quantized to eight bits.

    Args:
        ranges: of the input of each int8 layer by its name; None where it is taken from each input.
        fine: those of them whose input is brought to two bytes, a coarse one and one for what is left.
        rest: type in which all other layers compute, ``float32`` or ``bfloat16``, where a runtime has that.
    """

    ranges: Mapping[str, Range | None] = field(default_factory=dict)
    fine: frozenset[str] = frozenset()
    rest: str = "float32"

    @property
    def is_exact(self) -> bool:
        """Whether all is fp32, so that outputs differ by the order of sums alone."""
        return not self.ranges and self.rest == "float32"

    @property
    def is_static(self) -> bool:
        """Whether every range is known beforehand, so that an output does not depend on its batch."""
        return all(found is not None for found in self.ranges.values())

    def without(self, layers: Iterable[str]) -> Int8Plan:
        """Return the same with some layers in fp32.

        Examples:
            >>> Int8Plan({"a": None, "b": None}).without(["a"]).ranges
            {'b': None}
        """
        left_out = set(layers)
        return replace(self, ranges={name: found for name, found in self.ranges.items() if name not in left_out})


def quantizable_layers(model: BigfootForCTC) -> dict[str, nn.Module]:
    """Return the layers that can compute in int8; the head gives the logits, and stays as it is.

    Args:
        model: any shape.

    Returns:
        Modules by their name within the encoder; see ``int8_layers``.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> list(quantizable_layers(load_model("tiny_teacher").model))[5:8]
        ['feature_extractor.conv_layers.6.conv', 'feature_projection.projection', 'encoder.pos_conv_embed.conv']
    """
    return int8_layers(model.speech_encoder)


def dynamic_plan(model: BigfootForCTC) -> Int8Plan:
    """Return every layer that can, with ranges from each input."""
    layers = quantizable_layers(model)
    return Int8Plan(dict.fromkeys(layers), fine_layers(layers))


def fine_layers(layers: Iterable[str]) -> frozenset[str]:
    """Return those whose input needs two bytes: the convolutions of the waveform.

    Nothing between them evens out loud and quiet, and what comes after them does: a norm over each frame. Where a
    pause is a hundredth as loud as speech, one byte for both leaves noise of the pause, which the norm then blows up.

    Args:
        layers: names.
    """
    return frozenset(name for name in layers if name.startswith("feature_extractor."))


@torch.no_grad()
def calibrate(model: BigfootForCTC, audio: Iterable[PaddedAudio], percentile: float = 100.0) -> Int8Plan:
    """Measure the input ranges of every layer on real audio.

    Args:
        model: in eval mode.
        audio: one utterance each, so that no padding is measured.
        percentile: of the numbers, how many the range holds, in %; 100 holds all (min-max). Below that, both ends
            are cut at the quantile, and a layer's range is the widest of any utterance's.

    Returns:
        A plan whose ranges all are known.

    Raises:
        UnfitError: no audio, or a percentile that leaves nothing.
    """
    if problem := percentile_problem(percentile):
        raise UnfitError(problem)
    ranges: dict[str, Range] = {}

    def widen(name: str, given: Tensor) -> None:
        low, high = _ends(given, percentile)
        old = ranges.get(name, Range(0.0, 0.0))  # Zero is in every range: it is what padding is.
        ranges[name] = Range(min(old.low, low), max(old.high, high))

    layers = quantizable_layers(model)
    handles = [
        module.register_forward_pre_hook(lambda _, given, name=name: widen(name, given[0]))
        for name, module in layers.items()
    ]
    try:
        for utterance in audio:
            model(utterance.input_values, utterance.attention_mask)
    finally:
        for handle in handles:
            handle.remove()
    if len(ranges) < len(layers):
        message = "int8_static measures ranges on audio, and none was given; give it some seconds of real speech"
        raise UnfitError(Problem("precision", "no_audio", message))
    return Int8Plan({name: ranges[name] for name in layers}, fine_layers(layers))


def _ends(given: Tensor, percentile: float) -> Range:
    if percentile == 100.0:
        return Range(float(given.min()), float(given.max()))
    # torch.quantile takes no more than some millions; every n-th number gives the same.
    flat = given.flatten()[:: max(1, given.numel() // _SAMPLED)].float()
    share = percentile / 100
    return Range(float(flat.quantile(1 - share)), float(flat.quantile(share)))


def _check(shape: BigfootConfig, config: Quantize) -> Iterator[Problem]:
    if config.precision not in TARGETS:
        yield Problem("precision", "unknown_word", f"{config.precision!r} is none of {', '.join(TARGETS)}")
    elif config.precision == "float32":
        if config.keep_fp32:
            message = "with precision float32 every layer stays in fp32; leave it out"
            yield Problem("keep_fp32", "not_read", message)
    elif shape.small is None:
        with torch.device("meta"):
            outline = BigfootForCTC(shape)
        nameable_layers(outline, config.precision, config.keep_fp32)


@technique("quantize", Quantize, check=_check)
def apply(
    model: BigfootForCTC, config: Quantize, audio: Iterable[Waveforms] = ()
) -> tuple[BigfootForCTC, Change]:
    """Quantize the weights of a model; with static int8, also measure the input ranges of its layers.

    Args:
        model: left as it is; one with quantized weights is brought back to fp32 first.
        config: how small.
        audio: for ``int8_static``, batches of any size; see ``calibrate``.

    Returns:
        The new model in eval mode, and what was kept and dropped.

    Raises:
        UnfitError: an unknown precision, layers that are not there, or no audio.
        ModelError: a weight is not finite, or too large.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> apply(load_model("tiny_teacher").model, Quantize("float16"))[1].describe()[:51]
        'quantize: kept weights in float16. Dropped nothing.'
    """
    full = _as_it_computes(model, config.precision)
    if config.precision == "float32":
        return full, Change("quantize", ["weights, in fp32 again"])
    candidates, kept = list(quantizable_layers(full)), nameable_layers(full, config.precision, config.keep_fp32)
    small = SmallWeights(config.precision, tuple(config.keep_fp32))
    if small.computes_int8:
        static = config.precision == "int8_static"
        plan = calibrate(full, one_by_one(audio), config.percentile) if static else dynamic_plan(full)
        plan = plan.without(kept)
        ranges = {name: tuple(found) for name, found in plan.ranges.items() if found is not None}
        small = replace(small, ranges=ranges, fine=plan.fine & plan.ranges.keys())
    return with_small_weights(full, small), _describe(small, len(candidates), kept)


def _as_it_computes(model: BigfootForCTC, precision: str) -> BigfootForCTC:
    """Return a model whose layers have fp32 inputs; from int8 to int8 its weights keep their rounded values."""
    small = model.config.small
    if small is None:
        return model
    both = small.is_int8 and not small.bits and precision.startswith("int8")
    return with_small_weights(model, replace(small, precision="int8", ranges={}, fine=()) if both else None)


def folder_plan(model: BigfootForCTC) -> Int8Plan | None:
    """Return the int8 plan of a model's configuration; None where its layers compute in fp32.

    Args:
        model: any.
    """
    small = model.config.small
    if small is None or not small.computes_int8:
        return None
    layers = [name for name in quantizable_layers(model) if not small.keeps(name)]
    ranges = {name: Range(*small.ranges[name]) if small.ranges else None for name in layers}
    return Int8Plan(ranges, frozenset(small.fine))


def choose_layers(patterns: Iterable[str], layers: Collection[str], field: str = "keep_fp32") -> list[str]:
    """Return the layers that match patterns.

    Args:
        patterns: names, shell patterns, or what layers are part of.
        layers: all there are.
        field: of the settings that holds the patterns.

    Raises:
        UnfitError: a pattern that no layer fits.

    Examples:
        >>> choose_layers(["encoder.layers.0"], ["encoder.layers.0.attention.q_proj", "encoder.layers.1.x"])
        ['encoder.layers.0.attention.q_proj']
    """
    chosen, problems = set(), []
    for pattern in patterns:
        found = {layer for layer in layers if matches(layer, pattern)}
        near = difflib.get_close_matches(pattern, layers, n=1, cutoff=0.0)
        if not found:
            message = f"no layer is called {pattern!r}; the nearest is {', '.join(near) or 'none'}"
            problems.append(Problem(field, "no_such_layer", message))
        chosen |= found
    if problems:
        raise UnfitError(*problems)
    return [layer for layer in layers if layer in chosen]


def nameable_layers(model: BigfootForCTC, precision: str, patterns: Iterable[str]) -> list[str]:
    """Return the layers that ``keep_fp32`` names of a model: of those that a precision would change.

    Args:
        model: of any shape; its weights do not matter.
        precision: of ``PRECISIONS``.
        patterns: see ``choose_layers``.

    Raises:
        UnfitError: a pattern that no layer fits.
    """
    eight_bits = precision.startswith("int8")
    return choose_layers(patterns, list(quantizable_layers(model)) if eight_bits else _all_layers(model))


def _all_layers(model: BigfootForCTC) -> list[str]:
    """Layers with weights of their own, the head among them."""
    found = {split_name(name, model.config.weight_prefix)[0] for name, tensor in model.state_dict().items()
             if tensor.ndim > 1}  # fmt: skip
    return sorted(found)


def _describe(small: SmallWeights, layers: int, kept: Sequence[str]) -> Change:
    if not small.is_int8:
        phrases = [f"weights in {small.precision}"] + ([f"in fp32 {', '.join(kept)}"] if kept else [])
        return Change("quantize", phrases)
    written = layers if small.computes_int8 else layers - len(kept)
    phrases = [f"weights of {written} layers as int8, one scale a channel, all others in fp32"]
    if small.computes_int8:
        whence = "measured beforehand" if small.ranges else "taken from each input"
        phrases.append(f"{layers - len(kept)} layers compute in int8, ranges {whence}")
    return Change("quantize", phrases + ([f"in fp32 {', '.join(kept)}"] if kept else []))
