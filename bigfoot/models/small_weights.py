"""Quantized weights: how a folder describes them, and how they are written.

A model always computes with fp32 weights. Its configuration (``BigfootConfig.small_weights``) lists those that
are quantized. Such a folder takes fewer bytes, and loads as the same numbers to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor

from bigfoot.models.packed import BITS, GROUP_SIZES
from bigfoot.text.json_fields import build_from_json, describe_stray, has_fields_of, quote

LARGEST = 127
SCALE = "_scale"
"""What follows the name of an int8 tensor in the name of its scales."""
HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
COMPUTES_INT8 = ("int8_dynamic", "int8_static")
INT8 = ("int8", *COMPUTES_INT8)
PRECISIONS = (*HALVES, *INT8)
PACKED = "packed"
"""Precision of weights of four or two bits, layer by layer; all other layers have those of ``int8``."""
_SPARE_BITS = 8
_HEADS = ("bigfoot_lm_head.", "lm_head.")
_FACTORS = ".parametrizations.weight"


@dataclass(frozen=True)
class SmallWeights:
    """How the weights of a model and the inputs of its layers are quantized.

    Args:
        precision: of ``PRECISIONS``, or ``PACKED``. Halves: of every tensor with two dimensions or more. ``int8``: of
            convolutions and linear maps, one scale a channel; ``int8_dynamic`` and ``int8_static`` also bring what goes
            into these layers to eight bits, as the exported file does, with ranges from the audio itself or from
            ``ranges``.
        keep_fp32: names of layers within the encoder, or patterns. Their weights stay in fp32; with ``int8_dynamic``
            and ``int8_static`` these are int8 on disk all the same, and the layers compute in fp32.
        ranges: of ``int8_static``: lowest and highest number that each int8 layer is prepared for.
        fine: layers whose input is brought to two bytes.
        bits: of ``packed``: bits of the weights of layers, 4 or 2; see ``bigfoot.models.packed``.
        group_size: of ``packed``: numbers that share a step.

    Examples:
        >>> SmallWeights.read({"precision": "int8", "keep_fp32": ["encoder.layers.0"]}).keeps("encoder.layers.0.x")
        True
    """

    precision: str
    keep_fp32: Sequence[str] = ()
    ranges: Mapping[str, Sequence[float]] = field(default_factory=dict)
    fine: Collection[str] = ()
    bits: Mapping[str, int] = field(default_factory=dict)
    group_size: int = 0

    @classmethod
    def read(cls, raw: object) -> SmallWeights:
        """Read the settings from a configuration.

        Raises:
            ModelError: with all that is wrong.
        """
        return build_from_json(cls, raw, small_weight_problems, "these weights cannot be read")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of a configuration, without empty ones."""
        plain = {
            "precision": self.precision,
            "keep_fp32": list(self.keep_fp32),
            "ranges": {name: list(ends) for name, ends in self.ranges.items()},
            "fine": sorted(self.fine),
            "bits": dict(self.bits),
            "group_size": self.group_size,
        }
        return {name: value for name, value in plain.items() if value}

    @property
    def is_int8(self) -> bool:
        """Whether weights are integers."""
        return self.precision in (*INT8, PACKED)

    @property
    def computes_int8(self) -> bool:
        """Whether inputs of layers are quantized to eight bits, too."""
        return self.precision in COMPUTES_INT8

    def keeps(self, layer: str) -> bool:
        """Return whether a layer was chosen to stay in fp32."""
        return any(matches(layer, pattern) for pattern in self.keep_fp32)

    def dtype_of(self, name: str, ndim: int, layers: Collection[str], prefix: str) -> torch.dtype:
        """Return the type in which a tensor is written.

        Args:
            name: of the tensor.
            ndim: its dimensions.
            layers: those that int8 can hold, by their names within the encoder.
            prefix: of the encoder's tensors.
        """
        layer, kind = split_name(name, prefix)
        if kind == "weight" and layer in self.bits:
            return torch.uint8
        if self.is_int8:
            kept = self.keeps(layer) and not self.computes_int8
            return torch.int8 if kind == "weight" and layer in layers and not kept else torch.float32
        return torch.float32 if ndim < 2 or self.keeps(layer) else HALVES[self.precision]


def matches(layer: str, pattern: str) -> bool:
    """Return whether a layer, or a module that holds it, matches a pattern.

    Examples:
        >>> matches("encoder.layers.1.attention.q_proj", "encoder.layers.1"), matches("a.q_proj", "*.q_proj")
        (True, True)
    """
    return fnmatchcase(layer, pattern) or fnmatchcase(layer, f"{pattern}.*")


def split_name(name: str, prefix: str) -> tuple[str, str]:
    """Return the layer within the encoder and the kind of a tensor; the head is ``lm_head`` whatever its name.

    Examples:
        >>> split_name("bigfoot.encoder.layers.0.attention.q_proj.weight", "bigfoot")
        ('encoder.layers.0.attention.q_proj', 'weight')
    """
    if name.startswith(_HEADS):
        return "lm_head", name.rpartition(".")[2]
    layer, _, kind = name.removeprefix(f"{prefix}.").rpartition(".")
    return layer.removesuffix(_FACTORS), kind


def small_weight_problems(raw: object) -> Iterator[str]:
    """Find problems of ``small_weights`` of a configuration.

    Args:
        raw: fields of ``SmallWeights`` by name.

    Yields:
        One sentence a problem.

    Examples:
        >>> list(small_weight_problems({"precision": "int4"}))[0][:46]
        "small_weights.precision 'int4' is none of floa"
    """
    if not has_fields_of(raw, SmallWeights):
        yield describe_stray("small_weights", SmallWeights, raw)
        return
    precision = raw.get("precision")
    if precision not in (*PRECISIONS, PACKED):
        yield f"small_weights.precision {quote(precision)} is none of {', '.join((*PRECISIONS, PACKED))}"
    yield from _bit_problems(raw)
    for name in ("keep_fp32", "fine"):
        listed = raw.get(name, [])
        if not isinstance(listed, list | tuple) or not all(isinstance(item, str) for item in listed):
            yield f"small_weights.{name} {quote(listed)} should list names of layers"
    ranges = raw.get("ranges", {})
    if not isinstance(ranges, dict):
        yield f"small_weights.ranges {quote(ranges)} should hold a lowest and a highest number for each layer"
        return
    if bool(ranges) != (precision == "int8_static"):
        yield "small_weights.ranges are for int8_static, and that needs them"
    for name, ends in ranges.items():
        if not _is_range(ends):
            yield f"small_weights.ranges: {name} has {str(ends)[:100]}, expected [lowest, highest] around 0"


def _bit_problems(raw: Mapping[str, Any]) -> Iterator[str]:
    bits, size = raw.get("bits", {}), raw.get("group_size", 0)
    if not isinstance(bits, dict) or not all(type(count) is int and count in BITS for count in bits.values()):
        yield f"small_weights.bits {quote(bits)} should hold 2 or 4 for each layer of precision packed"
    elif bool(bits) != (raw.get("precision") == PACKED):
        yield "small_weights.bits are for precision packed, and that needs them"
    elif (type(size) is not int or size not in GROUP_SIZES) if bits else size:
        sizes = ", ".join(map(str, GROUP_SIZES))
        yield f"small_weights.group_size {quote(size)} should be one of {sizes} with precision packed, else absent"


def _is_range(ends: object) -> bool:
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        return False
    numbers = [end for end in ends if isinstance(end, int | float) and not isinstance(end, bool) and math.isfinite(end)]
    return len(numbers) == 2 and numbers[0] <= 0 <= numbers[1]


def quantize_weight(weight: Tensor, axis: int | Sequence[int] = 0) -> tuple[Tensor, Tensor]:
    """Quantize a weight to eight bits, symmetrically, one scale a channel.

    Scales have their last bits at zero, so that an integer times its scale is exact in fp32: what is read back from a
    folder gives the same integers and the same scales again.

    Args:
        weight: of any shape.
        axis: of the output channels; of several, each pair has its scale.

    Returns:
        int8 of the same shape, from -127 to 127, and fp32 scales, (channels,).

    Examples:
        >>> integers, scales = quantize_weight(torch.tensor([[1.0, -2.0], [0.0, 0.5]]))
        >>> integers.tolist(), [round(scale, 4) for scale in scales.tolist()]
        ([[63, -127], [0, 127]], [0.0157, 0.0039])
    """
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    others = [dim for dim in range(weight.ndim) if dim not in axes]
    largest = weight.detach().float().abs().amax(others).clamp(min=1e-30)
    scales = _round_up(largest / LARGEST)
    each = spread(scales, weight.shape, axes)
    integers = (weight.detach().float() / each).round().clamp(-LARGEST, LARGEST).to(torch.int8)
    return integers, scales


def _round_up(scales: Tensor) -> Tensor:
    bits = scales.contiguous().view(torch.int32)
    kept = bits & ~((1 << _SPARE_BITS) - 1)
    return torch.where(kept == bits, bits, kept + (1 << _SPARE_BITS)).view(torch.float32)


def spread(scales: Tensor, shape: Sequence[int], axes: Sequence[int]) -> Tensor:
    """Return scales with an axis for each of a tensor's: theirs, or one that is as long as 1."""
    return scales.view([size if dim in axes else 1 for dim, size in enumerate(shape)])
