"""Write positional convolutions and time reduction as nodes."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import nn

from bigfoot.export.packed import write_kernel
from bigfoot.export.parts import PartWriter
from bigfoot.models.positional import PositionalConv, PositionalConvStack
from bigfoot.models.squeezed import SqueezedEncoder, Upsampling
from bigfoot.models.time_reduction import TimeReduction


class PositionWriter(PartWriter):
    """Writes the positional convolutions, and the layers that reduce the frame rate."""

    def add_positions(self, x: str, mask: str) -> str:
        """Add positions.

        Args:
            x: (B, T, D), zero in the padding.
            mask: (B, T, 1) of 0 and 1.
        """
        g, encoder = self.graph, self.model.speech_encoder.encoder
        module = encoder.pos_conv_embed
        if isinstance(encoder, SqueezedEncoder) or not encoder.adds_positions:
            return x
        y, activation = x, self.config.feat_extract_activation
        if isinstance(module, PositionalConvStack):
            for layer in module.layers:
                y = self.convolve_frames(cast("nn.Conv1d", layer.conv), y)
                y = g.op("Mul", self.activate(self.norm(cast("nn.Module", layer.layer_norm), y), activation), mask)
            return g.op("Add", x, y)
        assert isinstance(module, PositionalConv)
        if (norm := module.batch_norm) is not None:
            assert norm.running_var is not None and norm.running_mean is not None
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            shift = norm.bias - norm.running_mean * scale
            y = g.op("Mul", g.op("Add", g.op("Mul", y, g.constant(scale)), g.constant(shift)), mask)
        return g.op("Add", x, self.activate(self.convolve_frames(module.conv, y), activation))

    def squeeze(self, encoder: SqueezedEncoder, x: str, lengths: str) -> tuple[str, str, str]:
        """Make one frame of several, and add positions.

        Args:
            encoder: of the model.
            x: (B, T, D), zero in the padding.
            lengths: (B,) real frames.

        Returns:
            (B, T', D), its mask (B, T', 1), and T'.
        """
        g, factor = self.graph, self.graph.ints(encoder.factor)
        x = g.pad(x, 1, 0, g.op("Max", g.op("Sub", factor, g.size(x, 1)), g.ints(0)), 3)
        fewer = g.op("Div", g.size(x, 1), factor)
        groups = g.op("Reshape", g.slice(x, 0, g.op("Mul", fewer, factor), 1),
                      g.ints(0, -1, encoder.factor, self.config.hidden_size))  # fmt: skip
        pooled = g.op("ReduceMean", groups, g.ints(2), keepdims=0)
        assert isinstance(encoder.pos_conv_embed, PositionalConv)
        positions = g.slice(self.convolve_frames(encoder.pos_conv_embed.conv, x), 0, fewer, 1)
        activated = self.activate(positions, self.config.feat_extract_activation)
        return g.op("Add", pooled, activated), self.frame_mask(fewer, g.op("Div", lengths, factor)), fewer

    def upsample(self, module: Upsampling, x: str, mask: str, frames: str) -> str:
        """Make several frames of one, zero where no layer saw one.

        Args:
            module: of the encoder.
            x: (B, T', D).
            mask: (B, T', 1) of 0 and 1.
            frames: T, (1,).
        """
        y = self.activate(self.linear(module.projection, x), self.config.feat_extract_activation)
        return self._spread(y, mask, frames)

    def repeat(self, x: str, factor: int, mask: str, frames: str) -> str:
        """Give every frame several times; see ``upsample``."""
        return self._spread(self.graph.concat([x] * factor), mask, frames)

    def _spread(self, x: str, mask: str, frames: str) -> str:
        """(B, T', factor * D) as (B, T, D)."""
        g = self.graph
        y = g.op("Reshape", g.op("Mul", x, mask), g.ints(0, -1, self.config.hidden_size))
        missing = g.op("Max", g.op("Sub", frames, g.size(y, 1)), g.ints(0))
        return g.slice(g.pad(y, 1, 0, missing, 3), 0, frames, 1)

    def convolve_frames(self, conv: nn.Conv1d, x: str) -> str:
        """Write a convolution that is centred on its frame.

        Args:
            conv: of the positions.
            x: (B, T, D).

        Returns:
            (B, T, D), or fewer frames where it strides.
        """
        g, name, width = self.graph, self.names[conv], conv.kernel_size[0]
        before, after, stride = width // 2, (width - 1) // 2, conv.stride[0]
        kernels = conv.weight.detach().chunk(conv.groups)
        if name not in g.plan.ranges and not g.exact:
            turned = g.op("Transpose", x, perm=[0, 2, 1])
            stored = g.stored.get(name)
            weight = g.constant(conv.weight) if stored is None else write_kernel(g, stored, conv.weight.shape)
            given = [turned, weight, *([] if conv.bias is None else [g.constant(conv.bias)])]
            y = g.op("Conv", *given, group=conv.groups, pads=[before, after], strides=[stride])
            y = g.op("Transpose", y, perm=[0, 2, 1])
        else:
            plane = g.prepare(g.pad(x, 1, before, after, 3), name)[0]
            scalar = g.op("Squeeze", g.size(x, 1), g.ints(0))
            starts = g.op("Range", g.constant(np.array(0)), scalar, g.constant(np.array(stride)))
            places = g.op("Add", g.op("Unsqueeze", starts, g.ints(1)), g.constant(np.arange(width)))
            size = conv.in_channels // conv.groups
            shape = g.op("Concat", g.size(x, 0), g.ints(-1, width * size), axis=0)
            biases = [None] * conv.groups if conv.bias is None else conv.bias.detach().chunk(conv.groups)
            outputs = []
            for strand, kernel, bias in zip(g.split(plane.values, conv.groups), kernels, biases, strict=True):
                windows = g.op("Reshape", g.op("Gather", strand, places, axis=1), shape)
                outputs.append(g.product([plane._replace(values=windows)], kernel.permute(2, 1, 0).flatten(0, 1), bias))
            y = g.concat(outputs)
        g.layers[name] = ([x], [y])
        return y

    def reduce(self, reduction: TimeReduction, x: str, frames: str, lengths: str) -> tuple[str, str, str]:
        """Merge several frames into one.

        Args:
            reduction: the layer.
            x: (B, T, D), zero in the padding.
            frames: T, (1,).
            lengths: (B,) real frames.

        Returns:
            (B, T', D), its mask (B, T', 1), and T'.
        """
        g, conv, factor = self.graph, reduction.conv, reduction.factor
        fewer = g.op("Div", g.op("Add", frames, g.ints(factor - 1)), g.ints(factor))
        missing = g.op("Sub", g.op("Mul", fewer, g.ints(factor)), frames)
        width = conv.in_channels * factor
        padded = g.pad(x, 1, 0, missing, 3)
        windows = g.op("Reshape", padded, g.ints(0, -1, width))
        name = self.names[conv]
        kernel = conv.weight.detach().permute(2, 1, 0).flatten(0, 1)
        y = g.product(g.prepare(windows, name), kernel, conv.bias)
        g.layers[name] = ([padded], [y])
        real = g.op("Div", g.op("Add", lengths, g.ints(factor - 1)), g.ints(factor))
        return y, self.frame_mask(fewer, real), fewer

    def restore(self, reduction: TimeReduction, x: str, frames: str) -> str:
        """Expand one frame into several.

        Args:
            reduction: the layer.
            x: (B, T', D).
            frames: T, (1,).
        """
        g, conv = self.graph, reduction.upsampler
        kernel = conv.weight.detach().permute(0, 2, 1).flatten(1)  # (D, factor * D)
        bias = None if conv.bias is None else conv.bias.detach().repeat(reduction.factor)
        y = g.product(g.prepare(x, self.names[conv]), kernel, bias)
        spread = g.op("Reshape", y, g.ints(0, -1, conv.out_channels))
        g.layers[self.names[conv]] = ([x], [spread])
        return g.slice(spread, 0, frames, 1)
