"""Int8 inputs of layers, emulated in fp32 as in an exported int8 file.

The file quantizes the input of a layer to eight bits; here it is rounded to the same steps and the product is computed
in fp32. The outputs of a folder are then those of its exported file, up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bigfoot.errors import ModelError
from bigfoot.models.small_weights import SmallWeights

LEVELS, MIDDLE = 255, 128
_KINDS = (nn.Linear, nn.Conv1d, nn.ConvTranspose1d)
_CONVS = "feature_extractor."
_FIRST = "feature_extractor.conv_layers.0.conv"
_BEHIND = ("adapter.", "intermediate_ffn.")
_KEPT = ("gru_rel_pos_linear", "depthwise_conv", "pos_key_proj", "pos_query_proj")
_NAMED = 3


def int8_layers(encoder: nn.Module) -> dict[str, nn.Module]:
    """Return what can compute in int8: every convolution but the first, the positional one, every linear map.

    The first convolution reads the waveform itself and has ten numbers a channel; gates are a few numbers a head, and
    a depthwise convolution one kernel a channel; maps of positions are multiplied out before any audio comes. A
    positional convolution that nothing reads stays as it is, and what shortens time behind the layers.

    Args:
        encoder: a ``SpeechEncoder``.

    Returns:
        Modules by their name within the encoder.
    """
    found = {name: module for name, module in encoder.named_modules() if isinstance(module, _KINDS)}
    if not getattr(encoder.get_submodule("encoder"), "adds_positions", True):
        found = {name: module for name, module in found.items() if not name.startswith("encoder.pos_conv_embed")}
    found = {name: module for name, module in found.items() if not name.startswith(_BEHIND)}
    return {name: module for name, module in found.items() if name != _FIRST and not name.endswith(_KEPT)}


@dataclass(frozen=True)
class FakeInt8:
    """Forward pre-hook that quantizes the input of a layer.

    Args:
        ends: lowest and highest number; None where they are taken from each input.
        fine: to two bytes, a coarse one and one for what is left.
        groups: channels are cut into so many parts with a range of their own, where the audio gives the ranges.

    Examples:
        >>> FakeInt8((0.0, 255.0), fine=False)(None, (torch.tensor([0.4, 7.6, 300.0]),))
        (tensor([  0.,   8., 255.]),)
    """

    ends: Sequence[float] | None
    fine: bool
    groups: int = 1

    def __call__(self, _module: object, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the inputs with the first one rounded."""
        x = given[0]
        if self.ends is not None or self.groups == 1:
            return self._round(x), *given[1:]
        return torch.cat([self._round(part) for part in x.chunk(self.groups, dim=1)], dim=1), *given[1:]

    def _round(self, x: Tensor) -> Tensor:
        step, offset = self._scale(x)
        coarse = ((x / step).round() + offset).clamp_(0, LEVELS).sub_(offset).mul_(step)
        if not self.fine:
            return coarse
        small = step / LEVELS
        rest = ((x - coarse) / small).round_().clamp_(-MIDDLE, LEVELS - MIDDLE)
        return coarse.add_(rest.mul_(small))

    def _scale(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the step and the byte that stands for zero."""
        if self.ends is None:
            # As the operator DynamicQuantizeLinear has it; silence has any step.
            low, high = x.min().clamp(max=0.0), x.max().clamp(min=0.0)
            step = torch.where(high > low, (high - low) / LEVELS, 1.0)
            return step, (-low / step).round().clamp(0, LEVELS)
        known, offset = static_scale(*self.ends)
        return x.new_tensor(known), x.new_tensor(offset)


def static_scale(low: float, high: float) -> tuple[float, int]:
    """Return the step, exact in fp32, and the byte that stands for zero.

    Args:
        low: lowest number, at most 0.
        high: highest number, at least 0.

    Examples:
        >>> static_scale(-1.0, 254.0)
        (1.0, 1)
    """
    step = float(np.float32(max(high - low, 1e-12) / LEVELS))
    return step, int(np.clip(round(-low / step), 0, LEVELS))


def install_fake_int8_(encoder: nn.Module, small: SmallWeights) -> None:
    """Give the int8 layers of an encoder the inputs that they get in an exported file.

    Args:
        encoder: changed in place.
        small: which layers, and their ranges.

    Raises:
        ModelError: ranges are missing, or of layers that are not there.
    """
    layers = {name: layer for name, layer in int8_layers(encoder).items() if not small.keeps(name)}
    faults = []
    if small.ranges:
        faults += [f"no range of {name}" for name in layers if name not in small.ranges]
        faults += [f"a range of {name}, which is no int8 layer here" for name in small.ranges if name not in layers]
    faults += [f"fine {name}, which is no int8 layer here" for name in small.fine if name not in layers]
    if faults:
        more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise ModelError(f"small_weights does not fit the shape: {'; '.join(faults[:_NAMED])}{more}")
    for name, layer in layers.items():
        groups = layer.groups if isinstance(layer, nn.Conv1d) and name.startswith(_CONVS) else 1
        layer.register_forward_pre_hook(FakeInt8(small.ranges.get(name), name in small.fine, groups))
