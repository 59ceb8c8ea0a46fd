"""Eight-bit integers: which layers can have them, their weights, and the ranges of what goes in.

A weight has one scale for each output channel and no offset; what goes into a layer has one scale and one offset,
measured on real audio (static) or taken from the audio itself while the model runs (dynamic).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bigfoot.errors import ConfigError
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.feature_encoder import PaddedAudio

LARGEST = 127
_SAMPLED = 65_536
_SPARE_BITS = 8


class Range(NamedTuple):
    """Lowest and highest number that a layer is prepared for."""

    low: float
    high: float


@dataclass(frozen=True)
class Int8Plan:
    """Which layers compute in int8, and how what goes into them is brought to eight bits.

    Args:
        ranges: of the input of each int8 layer by its name; None where the audio at hand gives the range.
        fine: those of them whose input is brought to two bytes, a coarse one and one for what is left.
    """

    ranges: Mapping[str, Range | None] = field(default_factory=dict)
    fine: frozenset[str] = frozenset()

    @property
    def is_static(self) -> bool:
        """Whether every range is known beforehand, so that an answer does not depend on its batch."""
        return all(found is not None for found in self.ranges.values())

    def without(self, layers: Iterable[str]) -> Int8Plan:
        """The same with some layers in fp32.

        Example:
            >>> Int8Plan({"a": None, "b": None}).without(["a"]).ranges
            {'b': None}
        """
        left_out = set(layers)
        return replace(self, ranges={name: found for name, found in self.ranges.items() if name not in left_out})


def quantizable_layers(model: BigfootForCTC) -> dict[str, nn.Module]:
    """Layers that can compute in int8: every convolution but the first, the positional one, every linear map.

    The first convolution hears the waveform itself and has ten numbers a channel; the head's logits are the answer.
    Both stay as they are.

    Args:
        model: any shape.

    Returns:
        Modules by their name within the encoder.

    Example:
        >>> from bigfoot.models.folder import load_model
        >>> list(quantizable_layers(load_model("tiny_teacher").model))[5:8]
        ['feature_extractor.conv_layers.6.conv', 'feature_projection.projection', 'encoder.pos_conv_embed.conv']
    """
    kinds = (nn.Linear, nn.Conv1d, nn.ConvTranspose1d)
    found = {name: module for name, module in model.speech_encoder.named_modules() if isinstance(module, kinds)}
    first = model.speech_encoder.feature_encoder.conv_layers[0].get_submodule("conv")
    gates = ("gru_rel_pos_linear",)
    return {name: module for name, module in found.items() if module is not first and not name.endswith(gates)}


def dynamic_plan(model: BigfootForCTC) -> Int8Plan:
    """Every layer that can, with ranges from the audio at hand."""
    layers = quantizable_layers(model)
    return Int8Plan(dict.fromkeys(layers), fine_layers(layers))


def fine_layers(layers: Iterable[str]) -> frozenset[str]:
    """Those whose input needs two bytes: the convolutions of the waveform.

    Nothing between them evens out loud and quiet, and what comes after them does: a norm over each frame. Where a
    pause is a hundredth as loud as speech, one byte for both leaves noise of the pause, which the norm then blows up.

    Args:
        layers: names.
    """
    return frozenset(name for name in layers if name.startswith("feature_extractor."))


@torch.no_grad()
def calibrate(model: BigfootForCTC, audio: Iterable[PaddedAudio], percentile: float = 100.0) -> Int8Plan:
    """Measure what goes into every layer on real audio.

    Args:
        model: in eval mode.
        audio: one utterance each, so that no padding is measured.
        percentile: of the numbers, how many the range holds, in %; 100 holds all (min-max). Below that, both ends
            are cut at the quantile, and a layer's range is the widest of any utterance's.

    Returns:
        A plan whose ranges all are known.

    Raises:
        ConfigError: no audio, or a percentile that leaves nothing.
    """
    if not 50.0 < percentile <= 100.0:
        raise ConfigError([f"percentile: {percentile:g} should be above 50 and at most 100"])
    ranges: dict[str, Range] = {}

    def listen(name: str, given: Tensor) -> None:
        low, high = _ends(given, percentile)
        old = ranges.get(name, Range(0.0, 0.0))  # Zero is in every range: it is what padding is.
        ranges[name] = Range(min(old.low, low), max(old.high, high))

    layers = quantizable_layers(model)
    handles = [
        module.register_forward_pre_hook(lambda _, given, name=name: listen(name, given[0]))
        for name, module in layers.items()
    ]
    try:
        for utterance in audio:
            model(utterance.input_values, utterance.attention_mask)
    finally:
        for handle in handles:
            handle.remove()
    if len(ranges) < len(layers):
        raise ConfigError(["calibration: there is no audio to measure ranges on; give it some seconds of real speech"])
    return Int8Plan({name: ranges[name] for name in layers}, fine_layers(layers))


def _ends(given: Tensor, percentile: float) -> Range:
    if percentile == 100.0:
        return Range(float(given.min()), float(given.max()))
    # torch.quantile takes no more than some millions; every so many-th number tells the same.
    flat = given.flatten()[:: max(1, given.numel() // _SAMPLED)].float()
    share = percentile / 100
    return Range(float(flat.quantile(1 - share)), float(flat.quantile(share)))


def quantize_weight(weight: Tensor, axis: int = 0) -> tuple[Tensor, Tensor]:
    """Bring a weight to eight bits, symmetrically, one scale a channel.

    Scales have their last bits at zero, so that an integer times its scale is exact in fp32: what is read back from a
    folder gives the same integers and the same scales again.

    Args:
        weight: of any shape.
        axis: of the output channels.

    Returns:
        int8 of the same shape, from -127 to 127, and fp32 scales, (channels,).

    Example:
        >>> integers, scales = quantize_weight(torch.tensor([[1.0, -2.0], [0.0, 0.5]]))
        >>> integers.tolist(), [round(scale, 4) for scale in scales.tolist()]
        ([[63, -127], [0, 127]], [0.0157, 0.0039])
    """
    others = [dim for dim in range(weight.ndim) if dim != axis]
    largest = weight.detach().float().abs().amax(others).clamp(min=1e-30)
    scales = _round_up(largest / LARGEST)
    spread = scales.view([-1 if dim == axis else 1 for dim in range(weight.ndim)])
    integers = (weight.detach().float() / spread).round().clamp(-LARGEST, LARGEST).to(torch.int8)
    return integers, scales


def _round_up(scales: Tensor) -> Tensor:
    bits = scales.contiguous().view(torch.int32)
    kept = bits & ~((1 << _SPARE_BITS) - 1)
    return torch.where(kept == bits, bits, kept + (1 << _SPARE_BITS)).view(torch.float32)
