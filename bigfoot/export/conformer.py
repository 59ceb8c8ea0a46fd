"""What conformer layers have beside attention and feed-forward blocks, as nodes: positions and convolutions."""

from __future__ import annotations

import math

import numpy as np
import torch

from bigfoot.export.positions import PositionWriter
from bigfoot.models.conformer import ConvModule
from bigfoot.models.conformer_attention import ConformerAttention
from bigfoot.models.conformer_positions import RotaryPositions


class ConformerWriter(PositionWriter):
    """Writes parts of conformer layers."""

    def rotary_turn(self, positions: RotaryPositions | None, frames: str) -> tuple[str, str] | None:
        """Write cosines and sines of all frames, (T, 1, head_dim) each; None where nothing is turned.

        Args:
            positions: of the encoder.
            frames: T, (1,).
        """
        if positions is None:
            return None
        g, angles = self.graph, positions.inv_freq
        places = g.op("Unsqueeze", g.op("Cast", self._range(frames), to=1), g.ints(1, 2))
        turned = g.op("Mul", places, g.constant(torch.cat([angles, angles])))
        return g.op("Cos", turned), g.op("Sin", turned)

    def turn(self, x: str, by: tuple[str, str] | None, width: int) -> str:
        """Turn the frames of which queries and keys are made.

        Args:
            x: (B, T, D).
            by: see ``rotary_turn``.
            width: of a head.
        """
        if by is None:
            return x
        g = self.graph
        shares = g.op("Reshape", x, g.ints(0, 0, -1, width))
        first, second = g.split(shares, 2)
        crossed = g.op("Concat", g.op("Neg", second), first, axis=-1)
        turned = g.op("Add", g.op("Mul", shares, by[0]), g.op("Mul", crossed, by[1]))
        return g.op("Reshape", turned, g.ints(0, 0, self.config.hidden_size))

    def _range(self, count: str) -> str:
        g = self.graph
        return g.op("Range", g.constant(np.array(0)), g.op("Squeeze", count, g.ints(0)), g.constant(np.array(1)))

    def position_scores(self, module: ConformerAttention, query: str, frames: str) -> tuple[str, str | None]:
        """Write the queries for the product with keys, and what positions add to the scores.

        Args:
            module: of the layer.
            query: (B, H, T, head_dim).
            frames: T, (1,).

        Returns:
            The queries, and (B, H, T, T) or None.
        """
        g, scale = self.graph, self.graph.constant(np.array(module.head_dim**-0.5))
        if module.positions == "relative":
            biased = g.op("Add", query, g.constant(module.pos_bias_v[:, None]))
            scores = self._shift(g.op("MatMul", biased, self._known(module, frames)), module.num_heads, frames)
            return g.op("Add", query, g.constant(module.pos_bias_u[:, None])), g.op("Mul", scores, scale)
        if module.positions == "relative_key":
            by_distance = g.op("MatMul", query, g.constant(module.distance_embedding.weight.detach().T))
            return query, g.op("Mul", self._by_key(by_distance, module, query, frames), scale)
        return query, None

    def _known(self, module: ConformerAttention, frames: str) -> str:
        """Projected sinusoids of all distances, (1, H, head_dim, 2T - 1)."""
        g, size = self.graph, module.linear_pos.in_features
        twice = g.op("Sub", g.op("Mul", frames, g.ints(2)), g.ints(1))
        distances = g.op("Sub", g.op("Sub", frames, g.ints(1)), self._range(twice))
        steps = torch.exp(torch.arange(0, size, 2).float() * -(math.log(10000.0) / size))
        angles = g.op("Mul", g.op("Unsqueeze", g.op("Cast", distances, to=1), g.ints(1)), g.constant(steps))
        both = [g.op("Unsqueeze", g.op(kind, angles), g.ints(2)) for kind in ("Sin", "Cos")]
        sinusoids = g.op("Reshape", g.op("Concat", *both, axis=2), g.ints(1, -1, size))
        known = g.op("Reshape", self.linear(module.linear_pos, sinusoids), g.ints(0, 0, module.num_heads, -1))
        return g.op("Transpose", known, perm=[0, 2, 3, 1])

    def _shift(self, scores: str, heads: int, frames: str) -> str:
        """(B, H, T, 2T - 1) of distances to (B, H, T, T) of keys; see ``shift_distances``."""
        g = self.graph
        padded = g.pad(scores, 3, 1, 0, 4)
        turned = g.op("Reshape", padded, g.op("Concat", g.ints(0, heads, -1), frames, axis=0))
        rest = g.slice(turned, 1, g.op("Mul", frames, g.ints(2)), 2)
        back = g.op("Reshape", rest, g.op("Concat", g.ints(0, heads), frames, g.ints(-1), axis=0))
        return g.slice(back, 0, frames, 3)

    def _by_key(self, by_distance: str, module: ConformerAttention, query: str, frames: str) -> str:
        g, places = self.graph, self._range(frames)
        distance = g.op("Sub", places, g.op("Unsqueeze", places, g.ints(1)))
        ends = g.constant(np.array(-module.left)), g.constant(np.array(module.right))
        row = g.op("Add", g.op("Clip", distance, *ends), g.ints(module.left))
        shape = g.op("Concat", g.op("Shape", query, start=0, end=3), frames, axis=0)
        return g.op("GatherElements", by_distance, g.op("Expand", row, shape), axis=3)

    def convolve(self, module: ConvModule, x: str, mask: str) -> str:
        """Write the convolution of a layer.

        Args:
            module: the convolution.
            x: (B, T, D).
            mask: (B, T, 1) of 0 and 1.
        """
        g = self.graph
        values, gates = g.split(self.linear(module.pointwise_conv1, self.norm(module.layer_norm, x)), 2)
        y = g.op("Mul", g.op("Mul", values, g.op("Sigmoid", gates)), mask)
        y = self._norm_channels(module, self._depthwise(module, y))
        return self.linear(module.pointwise_conv2, self.activate(y, self.config.hidden_act))

    def _depthwise(self, module: ConvModule, x: str) -> str:
        g, (before, after) = self.graph, module.padding
        kernel = module.depthwise_conv.weight.detach()[:, 0]  # (C, K)
        if not g.exact:
            turned = g.op("Transpose", x, perm=[0, 2, 1])
            given = [turned, g.constant(kernel[:, None])]
            y = g.op("Conv", *given, group=len(kernel), pads=[before, after])
            return g.op("Transpose", y, perm=[0, 2, 1])
        # Tap by tap: so the order of the sum is the same whatever the batch is.
        padded, frames = g.pad(x, 1, before, after, 3), g.size(x, 1)
        taps = [
            g.op("Mul", g.slice(padded, tap, g.op("Add", frames, g.ints(tap)), 1), g.constant(kernel[:, tap]))
            for tap in range(kernel.shape[1])
        ]
        return g.add(*taps)

    def _norm_channels(self, module: ConvModule, x: str) -> str:
        norm = module.batch_norm
        if norm is None:
            return self.norm(module.depthwise_layer_norm, x)
        g = self.graph
        assert norm.running_var is not None and norm.running_mean is not None
        scale = norm.weight.detach() * torch.rsqrt(norm.running_var + norm.eps)
        scaled = g.op("Mul", x, g.constant(scale))
        return g.op("Add", scaled, g.constant(norm.bias.detach() - norm.running_mean * scale))
