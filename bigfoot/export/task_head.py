"""The task head as nodes: layer sum, pooling, hidden layers, output."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from bigfoot.export.writer import GraphWriter, Plane, transposed
from bigfoot.models.tasks.head import TaskHead
from bigfoot.models.tasks.kinds.ordinal import SharedThresholds
from bigfoot.models.tasks.pooling.attention import AttentionPooling
from bigfoot.models.tasks.pooling.statistics import VARIANCE_FLOOR

_FAR_BELOW, _FLOAT = 1e9, 1


class TaskWriter:
    """Writes a task head.

    Args:
        head: in eval mode.
        graph: to write to.
        mask: (B, T, 1) of 0 and 1.
        lengths: (B,) real frames.
    """

    def __init__(self, head: TaskHead, graph: GraphWriter, mask: str, lengths: str) -> None:
        self.head, self.graph, self.mask, self.lengths = head, graph, mask, lengths
        g = graph
        at_least_one = g.op("Cast", g.op("Max", lengths, g.ints(1)), to=_FLOAT)
        self.count = g.op("Unsqueeze", at_least_one, g.ints(1))  # (B, 1)

    def write(self, last: str, states: Sequence[str], beside: Sequence[tuple[str, str, str]] = ()) -> str:
        """Write all of it.

        Args:
            last: (B, T, D), the encoder's last state.
            states: all of its hidden states, where the head reads them.
            beside: of ``EnergyWriter``, of each part that the head has of the waveform.

        Returns:
            (B, K) logits.
        """
        g = self.graph
        if self.head.layer_weights is not None:
            shares = self.head.layer_weights.detach().softmax(0)
            parts = [g.op("Mul", state, g.constant(share)) for state, share in zip(states, shares, strict=True)]
            last = parts[0] if len(parts) == 1 else g.op("Sum", *parts)
        pooled = _POOLINGS[self.head.shape.pooling](self, g.op("Mul", last, self.mask))
        if beside:
            more = [TaskWriter(self.head, g, mask, frames)._statistics(values) for values, mask, frames in beside]
            pooled = g.concat([pooled, *more])
        for layer in self.head.layers:
            if isinstance(layer, nn.Linear):
                pooled = self._dense(layer, pooled)
            elif isinstance(layer, nn.GELU):
                pooled = g.op("Gelu", pooled)
        output = self.head.output
        if isinstance(output, SharedThresholds):
            return g.op("Add", self._dense(output.direction, pooled), g.constant(output.biases))
        return self._dense(output, pooled)

    def _dense(self, linear: nn.Module, x: str) -> str:
        assert isinstance(linear, nn.Linear)
        return self.graph.product([Plane(x)], transposed(linear.weight), linear.bias)

    def _mean(self, frames: str) -> str:
        return self.graph.op("Div", self.graph.op("ReduceSum", frames, self.graph.ints(1), keepdims=0), self.count)

    def _maximum(self, frames: str) -> str:
        g = self.graph
        lowest = g.constant(np.array(torch.finfo(torch.float32).min, np.float32))
        real = g.op("Cast", self.mask, to=9)
        return g.op("ReduceMax", g.op("Where", real, frames, lowest), g.ints(1), keepdims=0)

    def _last(self, frames: str) -> str:
        g = self.graph
        # The one frame that has no real frame behind it.
        after = g.pad(g.slice(self.mask, 1, g.size(self.mask, 1), 1), 1, 0, 1, 3)
        chosen = g.op("Mul", frames, g.op("Sub", self.mask, after))
        return g.op("ReduceSum", chosen, g.ints(1), keepdims=0)

    def _statistics(self, frames: str) -> str:
        g = self.graph
        mean = self._mean(frames)
        centred = g.op("Mul", g.op("Sub", frames, g.op("Unsqueeze", mean, g.ints(1))), self.mask)
        variance = self._mean(g.op("Mul", centred, centred))
        spread = g.op("Sqrt", g.op("Add", variance, g.constant(np.array(VARIANCE_FLOOR))))
        # No frame, no spread: audio shorter than a window of the energies.
        any_frame = g.op("Unsqueeze", g.op("Cast", g.op("Min", self.lengths, g.ints(1)), to=_FLOAT), g.ints(1))
        return g.concat([mean, g.op("Mul", spread, any_frame)])

    def _attention(self, frames: str) -> str:
        g, pooling = self.graph, self.head.pooling
        assert isinstance(pooling, AttentionPooling)
        scores = self._dense(pooling.score, g.op("Tanh", self._dense(pooling.hidden, frames)))
        hidden = g.op("Mul", g.op("Sub", self.mask, g.constant(np.array(1.0))), g.constant(np.array(_FAR_BELOW)))
        shares = g.op("Softmax", g.op("Transpose", g.op("Add", scores, hidden), perm=[0, 2, 1]), axis=-1)  # (B, H, T)
        heads, width = pooling.num_heads, pooling.output_size // pooling.num_heads
        parts = g.op("Transpose", g.op("Reshape", frames, g.ints(0, 0, heads, width)), perm=[0, 2, 1, 3])
        mixed = g.op("MatMul", g.op("Unsqueeze", shares, g.ints(2)), parts)  # (B, H, 1, D / H)
        return g.op("Reshape", mixed, g.ints(0, heads * width))


_POOLINGS: dict[str, Callable[[TaskWriter, str], str]] = {
    "mean": TaskWriter._mean, "max": TaskWriter._maximum, "last": TaskWriter._last,
    "statistics": TaskWriter._statistics, "attention": TaskWriter._attention,
}  # fmt: skip
