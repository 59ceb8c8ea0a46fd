"""How the teacher's outputs are stored: half precision, one byte a number, or the likeliest tokens alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bigfoot.errors import DataError
from bigfoot.models.configuration import BigfootConfig

CACHEABLE = ("hidden_states", "attention_values", "conv_features", "logits")
"""Fields of a model's output that can be stored: so many numbers a frame, whatever the length."""

TUPLES = ("hidden_states", "attention_values")
"""Those of them that are one tensor a layer."""

_LARGEST_BYTE = 127


@dataclass(frozen=True)
class Packing:
    """How tensors are stored in a cache.

    Args:
        dtype: ``fp16``, or ``int8`` with a scale for every channel of every utterance; of logits always fp16.
        top_k: tokens a frame whose logits are kept, the others share what is left evenly; 0 for all.

    Examples:
        >>> logits = torch.tensor([[4.0, 1.0, 0.0, 3.0]])
        >>> packing = Packing("fp16", top_k=2)
        >>> packing.unpack("logits", packing.pack("logits", logits), 4).softmax(-1).sub(logits.softmax(-1)).abs() < 0.02
        tensor([[True, True, True, True]])
    """

    dtype: str
    top_k: int

    def pack(self, field: str, x: Tensor) -> dict[str, Tensor]:
        """Pack a tensor.

        Args:
            field: of ``CACHEABLE``.
            x: (T, D).

        Returns:
            Tensors by what they are, on the CPU.

        Raises:
            DataError: a number is too large for half precision.
        """
        x = x.detach().float()
        if field == "logits":
            packed = self._pack_logits(x)
        elif self.dtype == "int8":
            packed = _pack_bytes(x)
        else:
            packed = {"x": _halve(x, field)}
        return {name: tensor.contiguous().cpu() for name, tensor in packed.items()}

    def unpack(self, field: str, packed: dict[str, Tensor], width: int) -> Tensor:
        """Undo ``pack``.

        Args:
            field: of ``CACHEABLE``.
            packed: what it gave.
            width: D.

        Returns:
            (T, D) fp32.
        """
        if "scale" in packed:
            return packed["x"].float() * packed["scale"]
        if field == "logits" and self._keeps_some(width):
            rest = packed["rest"].float() - math.log(width - self.top_k)
            return rest.expand(-1, width).scatter(-1, packed["token"].long(), packed["x"].float())
        return packed["x"].float()

    def parts(self, field: str, width: int) -> tuple[str, ...]:
        """Return the names of ``pack``'s tensors."""
        if field == "logits":
            return ("x", "token", "rest") if self._keeps_some(width) else ("x",)
        return ("x", "scale") if self.dtype == "int8" else ("x",)

    def count_bytes(self, field: str, frames: int, width: int) -> int:
        """Return the bytes of one packed tensor of (frames, width)."""
        if field == "logits":
            return frames * (self.top_k * 6 + 2 if self._keeps_some(width) else width * 2)
        return frames * width + width * 4 if self.dtype == "int8" else frames * width * 2

    def _keeps_some(self, width: int) -> bool:
        return 0 < self.top_k < width

    def _pack_logits(self, x: Tensor) -> dict[str, Tensor]:
        if not self._keeps_some(x.shape[-1]):
            return {"x": _halve(x, "logits")}
        best, token = x.topk(self.top_k, dim=-1)
        rest = x.scatter(-1, token, float("-inf")).logsumexp(-1, keepdim=True)
        return {"x": _halve(best, "logits"), "token": token.int(), "rest": _halve(rest, "logits")}


def _halve(x: Tensor, field: str) -> Tensor:
    halved = x.half()
    if not torch.isfinite(halved).all():
        raise DataError(
            f"distill.cache: the teacher's {field} reach {float(x.abs().max()):.3g}, too much for half precision; "
            "set distill.cache_dtype=int8"
        )
    return halved


def _pack_bytes(x: Tensor) -> dict[str, Tensor]:
    if not torch.isfinite(x).all():
        raise DataError("distill.cache: the teacher's outputs are not finite; try it with `bigfoot transcribe`")
    # A few channels of these models are far larger than the others: one scale for all would leave those nothing.
    largest = x.abs().amax(0) if len(x) else x.new_zeros(x.shape[1])
    scale = (largest / _LARGEST_BYTE).clamp(min=torch.finfo(torch.float32).tiny)
    return {"x": (x / scale).round().to(torch.int8), "scale": scale}


def width_of(field: str, layer: int, config: BigfootConfig) -> int:
    """Return the width D of a field of a model's output.

    Args:
        field: of ``CACHEABLE``.
        layer: index into it where it is a tuple.
        config: the model's shape.
    """
    widths = {"hidden_states": config.hidden_size, "conv_features": config.feature_size, "logits": config.vocab_size}
    return config.heads_of_layers[layer] * config.head_dim if field == "attention_values" else widths[field]
