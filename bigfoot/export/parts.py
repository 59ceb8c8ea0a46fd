"""Write layers of a model as nodes, for every part of a graph."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import nn

from bigfoot.errors import ModelError
from bigfoot.export.writer import GraphWriter, transposed
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.low_rank import LowRankLinear

_TANH = ("Gelu", {"approximate": "tanh"})
_ACTIVATIONS = {"gelu": ("Gelu", {}), "gelu_python": ("Gelu", {}), "gelu_new": _TANH, "gelu_pytorch_tanh": _TANH,
                "relu": ("Relu", {})}  # fmt: skip
_SWISH = ("silu", "swish")


class PartWriter:
    """Writes layers of one model.

    Args:
        model: in eval mode, with a head.
        graph: to write to.
    """

    def __init__(self, model: BigfootForCTC, graph: GraphWriter) -> None:
        self.model, self.config, self.graph = model, model.config, graph
        self.names = {module: name for name, module in model.speech_encoder.named_modules()}

    def activate(self, x: str, name: str) -> str:
        """Write an activation by its name in the configuration.

        Args:
            x: any shape.
            name: such as ``gelu``.

        Raises:
            ModelError: it has no form here.
        """
        if name in _SWISH:
            return self.graph.op("Mul", x, self.graph.op("Sigmoid", x))
        if name not in _ACTIVATIONS:
            known = ", ".join([*_ACTIVATIONS, *_SWISH])
            raise ModelError(f"the activation {name!r} has no form in ONNX here; known: {known}")
        kind, attributes = _ACTIVATIONS[name]
        return self.graph.op(kind, x, **attributes)

    def norm(self, norm: nn.Module | None, x: str) -> str:
        """Write a layer norm over features.

        Args:
            norm: None leaves all as it is.
            x: (B, T, D).
        """
        if norm is None:
            return x
        assert isinstance(norm, nn.LayerNorm)
        size = norm.normalized_shape[0]
        weight = torch.ones(size) if norm.weight is None else norm.weight
        given = [x, self.graph.constant(weight)] + ([] if norm.bias is None else [self.graph.constant(norm.bias)])
        return self.graph.op("LayerNormalization", *given, axis=-1, epsilon=norm.eps)

    def linear(self, module: nn.Module, x: str) -> str:
        """Write a linear layer, in fp32 or int8 by the plan.

        Args:
            module: linear, or a product of two.
            x: (B, T, D).
        """
        if isinstance(module, LowRankLinear):
            return self.linear(module.up, self.linear(module.down, x))
        linear = cast("nn.Linear", module)
        name = self.names.get(module, "lm_head")
        y = self.graph.product(self.graph.prepare(x, name), transposed(linear.weight), linear.bias, name)
        self.graph.layers[name] = ([x], [y])
        return y

    def frame_mask(self, frames: str, lengths: str) -> str:
        """Return (B, T, 1) of 0 and 1.

        Args:
            frames: T, (1,).
            lengths: (B,) real frames.
        """
        g = self.graph
        scalar = g.op("Squeeze", frames, g.ints(0))
        place = g.op("Range", g.constant(np.array(0)), scalar, g.constant(np.array(1)))
        real = g.op("Less", place, g.op("Unsqueeze", lengths, g.ints(1)))
        return g.op("Unsqueeze", g.op("Cast", real, to=1), g.ints(2))

    def prepend(self, prompts: torch.Tensor, x: str, lengths: str) -> tuple[str, str]:
        """Write learned frames in front of the real ones.

        Args:
            prompts: (P, D).
            x: (B, T, D).
            lengths: (B,) real frames.

        Returns:
            (B, P + T, D), and the lengths with the prompts.
        """
        g = self.graph
        size = g.op("Concat", g.size(x, 0), g.ints(*prompts.shape), axis=0)
        ahead = g.op("Expand", g.constant(prompts[None]), size)
        return g.op("Concat", ahead, x, axis=1), g.op("Add", lengths, g.ints(len(prompts)))

    def unfold(self, x: str, kernel: int, stride: int) -> str:
        """Write the inputs of a convolution without padding at each step.

        Args:
            x: (B, T, C).
            kernel: its width.
            stride: its step.

        Returns:
            (B, T', kernel * C).
        """
        g = self.graph
        if kernel == stride == 1:
            return x
        last = g.op("Div", g.op("Sub", g.size(x, 1), g.ints(kernel)), g.ints(stride))
        reach = g.op("Add", g.op("Mul", last, g.ints(stride)), g.ints(1))
        return g.concat([g.slice(x, tap, g.op("Add", reach, g.ints(tap)), 1, stride) for tap in range(kernel)])
