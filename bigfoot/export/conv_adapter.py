"""Layers behind the encoder that shorten time, as nodes."""

from __future__ import annotations

import numpy as np
from torch import nn

from bigfoot.export.transformer import TransformerWriter
from bigfoot.export.writer import Plane
from bigfoot.models.conv_adapter import ConvAdapterLayer, PlainAdapterLayer
from bigfoot.models.feed_forward import FeedForward


class ConvAdapterWriter(TransformerWriter):
    """Writes them, with the block that may stand before."""

    def shorten(self, x: str, mask: str, lengths: str) -> tuple[str, str, str]:
        """Write it all.

        Args:
            x: (B, T, D) of the layers.
            mask: (B, T, 1) of 0 and 1.
            lengths: (B,) real frames.

        Returns:
            (B, T', D), its mask, and its real frames.
        """
        g, encoder = self.graph, self.model.speech_encoder
        if encoder.intermediate_ffn is not None:
            inner = self._block(encoder.intermediate_ffn, x, "relu")
            x = g.op("Add", x, g.op("Mul", inner, g.constant(np.array(0.5))))
        assert encoder.adapter is not None
        self._turn = None
        for layer in encoder.adapter.layers:
            if isinstance(layer, PlainAdapterLayer):
                x = self._convolve(layer.conv, x, mask)
                lengths, mask = self._real(lengths, x)
                continue
            assert isinstance(layer, ConvAdapterLayer)
            residual = self._convolve(layer.residual_conv, self.norm(layer.residual_layer_norm, x), mask)
            x = self._convolve(layer.self_attn_conv, self.norm(layer.self_attn_layer_norm, x), mask)
            lengths, mask = self._real(lengths, x)
            self._frames = g.size(x, 1)
            self._missing_keys = self._count_missing(self._frames)
            attended, _ = self._attention(layer.self_attn, x, self.hide_padding(mask), None, None)
            x = g.op("Add", attended, residual)
            x = g.op("Add", x, self._block(layer.ffn, self.norm(layer.ffn_layer_norm, x), self.config.adapter_act))
        return x, mask, lengths

    def thin(self, state: str, mask: str) -> str:
        """Give the hidden state of each frame that is left.

        Args:
            state: (B, T, D).
            mask: (B, T', 1).
        """
        g, step = self.graph, self.config.adapter_stride**self.config.num_adapter_layers
        return g.slice(state, 0, g.op("Mul", g.size(mask, 1), g.ints(step)), 1, step)

    def _real(self, lengths: str, x: str) -> tuple[str, str]:
        g, config = self.graph, self.config
        reach = 2 * config.adapter_padding - config.adapter_kernel_size + config.adapter_stride
        enough = g.op("Max", g.op("Add", lengths, g.ints(reach)), g.ints(0))
        lengths = g.op("Div", enough, g.ints(config.adapter_stride))
        return lengths, self.frame_mask(g.size(x, 1), lengths)

    def _convolve(self, conv: nn.Conv1d, x: str, mask: str) -> str:
        g, (kernel,), (stride,) = self.graph, conv.kernel_size, conv.stride
        padding = self.config.adapter_padding
        padded = g.pad(g.op("Mul", x, mask), 1, padding, padding, 3)
        windows = self.unfold(padded, kernel, stride)
        y = g.product([Plane(windows)], conv.weight.detach().permute(2, 1, 0).flatten(0, 1), conv.bias)
        values, gates = g.split(y, 2)
        return g.op("Mul", values, g.op("Sigmoid", gates))

    def _block(self, block: FeedForward, x: str, activation: str) -> str:
        return self.linear(block.output_dense, self.activate(self.linear(block.intermediate_dense, x), activation))
