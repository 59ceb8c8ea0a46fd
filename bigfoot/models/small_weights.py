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

from bigfoot.errors import ModelError
from bigfoot.text.json_fields import build_from_json, describe_stray, has_fields_of, quote

LARGEST = 127
SCALE = "_scale"
"""What follows the name of an int8 tensor in the name of its scales."""
HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
COMPUTES_INT8 = ("int8_dynamic", "int8_static")
INT8 = ("int8", *COMPUTES_INT8)
PRECISIONS = (*HALVES, *INT8)
_SPARE_BITS = 8
_HEADS = ("bigfoot_lm_head.", "lm_head.")
_FACTORS = ".parametrizations.weight"


@dataclass(frozen=True)
class SmallWeights:
    """How the weights of a model and the inputs of its layers are quantized.

    Args:
        precision: of ``PRECISIONS``. Halves: of every tensor with two dimensions or more. ``int8``: of convolutions
            and linear maps, one scale a channel; ``int8_dynamic`` and ``int8_static`` also bring what goes into these
            layers to eight bits, as the exported file does, with ranges from the audio itself or from ``ranges``.
        keep_fp32: names of layers within the encoder, or patterns. Their weights stay in fp32; with ``int8_dynamic``
            and ``int8_static`` these are int8 on disk all the same, and the layers compute in fp32.
        ranges: of ``int8_static``: lowest and highest number that each int8 layer is prepared for.
        fine: layers whose input is brought to two bytes.

    Examples:
        >>> SmallWeights.read({"precision": "int8", "keep_fp32": ["encoder.layers.0"]}).keeps("encoder.layers.0.x")
        True
    """

    precision: str
    keep_fp32: Sequence[str] = ()
    ranges: Mapping[str, Sequence[float]] = field(default_factory=dict)
    fine: Collection[str] = ()

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
        }
        return {name: value for name, value in plain.items() if value}

    @property
    def is_int8(self) -> bool:
        """Whether weights are eight bits wide."""
        return self.precision in INT8

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
    if precision not in PRECISIONS:
        yield f"small_weights.precision {quote(precision)} is none of {', '.join(PRECISIONS)}"
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
    spread = _spread(scales, weight.shape, axes)
    integers = (weight.detach().float() / spread).round().clamp(-LARGEST, LARGEST).to(torch.int8)
    return integers, scales


def _round_up(scales: Tensor) -> Tensor:
    bits = scales.contiguous().view(torch.int32)
    kept = bits & ~((1 << _SPARE_BITS) - 1)
    return torch.where(kept == bits, bits, kept + (1 << _SPARE_BITS)).view(torch.float32)


def _spread(scales: Tensor, shape: Sequence[int], axes: Sequence[int]) -> Tensor:
    return scales.view([size if dim in axes else 1 for dim, size in enumerate(shape)])


def _channel_axes(name: str) -> tuple[int, ...]:
    """Find the axes of output channels: a transposed convolution gives each of its taps' channels apart."""
    return (1, 2) if name.endswith(".upsampler.weight") else (0,)


def _shrink(name: str, tensor: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Return a tensor as it is written, and its scales."""
    if dtype == torch.int8:
        return quantize_weight(tensor, _channel_axes(name))
    return tensor.detach().to(dtype), None


def _restore(name: str, written: Tensor, scales: Tensor | None) -> Tensor:
    full = written.float()
    return full if scales is None else full * _spread(scales, full.shape, _channel_axes(name))


def round_state(
    state: Mapping[str, Tensor], small: SmallWeights, layers: Collection[str], prefix: str
) -> dict[str, Tensor]:
    """Round the weights of a model to their quantized values.

    Args:
        state: fp32 tensors by name.
        small: how they will be written.
        layers: see ``SmallWeights.dtype_of``.
        prefix: see there.

    Returns:
        The same in fp32, rounded.

    Raises:
        ModelError: a weight is non-finite, or too large.
    """
    rounded = {}
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            rounded[name] = tensor
            continue
        dtype = small.dtype_of(name, tensor.ndim, layers, prefix)
        full = tensor.detach().float()
        rounded[name] = _restore(name, *_shrink(name, full, dtype))
        if not bool(full.isfinite().all()):
            raise ModelError(f"{name} holds NaN or infinity; train the model again before it is quantized")
        if not bool(rounded[name].isfinite().all()):
            raise ModelError(f"{name} holds {float(full.abs().max()):.3g}, too large for {dtype}; use bfloat16 or int8")
    return rounded


def pack_state(
    state: Mapping[str, Tensor], small: SmallWeights, layers: Collection[str], prefix: str
) -> dict[str, Tensor]:
    """Convert to what is written into a folder: quantized tensors, and the scales of those in int8.

    Args:
        state: tensors by name, rounded before.
        small: how they are written.
        layers: see ``SmallWeights.dtype_of``.
        prefix: see there.

    Returns:
        Tensors by name.

    Raises:
        ModelError: a tensor has other numbers than can be written.
    """
    packed = {}
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            packed[name] = tensor
            continue
        full = tensor.detach().float()
        written, scales = _shrink(name, full, small.dtype_of(name, tensor.ndim, layers, prefix))
        if not torch.equal(_restore(name, written, scales), full):
            raise ModelError(
                f"{name} does not fit into {small.precision} any more: the weights were changed after they were "
                "quantized. Nothing is rounded silently: bigfoot.compress.quantize.apply rounds them again, and with "
                "precision float32 keeps them as they are"
            )
        packed[name] = written
        if scales is not None:
            packed[name + SCALE] = scales
    return packed


def unpack_state(
    tensors: Mapping[str, Tensor], small: SmallWeights | None, layers: Collection[str], prefix: str, source: str
) -> dict[str, Tensor]:
    """Dequantize the tensors of a folder to fp32.

    Args:
        tensors: by name, as ``pack_state`` made them.
        small: as the folder's configuration has it; None for plain floats of any kind.
        layers: see ``SmallWeights.dtype_of``.
        prefix: see there.
        source: where they come from, for messages.

    Returns:
        fp32 tensors by name.

    Raises:
        ModelError: tensors of other types than configured, or scales that are missing or damaged; all are
            listed.
    """
    state, faults, used = {}, [], set()
    for name, tensor in tensors.items():
        if name.endswith("num_batches_tracked") or (name.endswith(SCALE) and name.removesuffix(SCALE) in tensors):
            continue
        expected = None if small is None else small.dtype_of(name, tensor.ndim, layers, prefix)
        scales = tensors.get(name + SCALE) if expected == torch.int8 else None
        fault = _find_fault(name, tensor, expected, scales)
        if fault is not None:
            faults.append(f"{name} {fault}")
            continue
        if scales is not None:
            used.add(name + SCALE)
        state[name] = _restore(name, tensor, scales)
    if faults:
        precision = "float32" if small is None else small.precision
        problem = f"{source}: its weights do not match its configuration ({precision}):\n  "
        raise ModelError(problem + "\n  ".join(sorted(faults)))
    # Other tensors stay as they are; loading reports them as left over.
    return state | {name: tensor.float() for name, tensor in tensors.items() if name not in state and name not in used}


def _find_fault(name: str, tensor: Tensor, expected: torch.dtype | None, scales: Tensor | None) -> str | None:
    """Describe what is wrong with a tensor of a folder; None where nothing is."""
    kind = str(tensor.dtype).removeprefix("torch.")
    if expected is None:
        return None if tensor.is_floating_point() else f"holds integers ({kind}), where floats are expected"
    if tensor.dtype != expected:
        return f"is {kind}, expected {str(expected).removeprefix('torch.')}"
    if expected != torch.int8:
        return None
    if scales is None:
        return f"has no scales: {name}{SCALE} is missing"
    axes = _channel_axes(name)
    shape = tuple(tensor.shape[axis] for axis in axes if axis < tensor.ndim)
    if tuple(scales.shape) != shape or len(shape) < len(axes):
        return f"has scales of shape {tuple(scales.shape)}, expected {shape}, one a channel"
    if scales.dtype != torch.float32:
        return f"has scales of {scales.dtype}, expected float32"
    if not bool((scales.isfinite() & (scales > 0)).all()):
        return "has scales that are not finite numbers above 0"
    return f"holds numbers below {-LARGEST}" if tensor.numel() and int(tensor.min()) < -LARGEST else None
