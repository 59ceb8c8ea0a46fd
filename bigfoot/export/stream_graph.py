"""The model as a graph of one chunk: samples and a state in, logits and the next state out.

It is the function of ``bigfoot.models.streaming`` in another order; ``bigfoot.export.parity`` compares both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from bigfoot.compress.quantize import Int8Plan
from bigfoot.export.features import FeatureWriter
from bigfoot.export.stream_state import NEXT_STATE, STATE, StreamState
from bigfoot.export.transformer import FAR_BELOW, TransformerWriter
from bigfoot.export.writer import GraphWriter
from bigfoot.measure.size import PARTS
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.streaming import LEVEL_FLOOR, LEVEL_FRAMES, decay_matrix
from bigfoot.models.streaming_shape import StreamingShape

if TYPE_CHECKING:
    from onnx import ModelProto

SAMPLES = "samples"


class StreamFeatureWriter(FeatureWriter):
    """Writes the level and the feature encoder.

    Args:
        model: see ``PartWriter``.
        graph: see there.
        state: of the graph.
        chunk: frames of a chunk at most.
    """

    def __init__(self, model: BigfootForCTC, graph: GraphWriter, state: StreamState, chunk: int) -> None:
        super().__init__(model, graph, normalize=False)
        self.state, self.decay = state, decay_matrix(chunk + 1)

    def write_chunk(self, samples: str) -> str:
        """Write all of it.

        Args:
            samples: (B, T * stride).

        Returns:
            (B, T, D) of frames.
        """
        g, overlap = self.graph, self.config.receptive_field - self.config.inputs_to_logits_ratio
        leveled = self.state.join_tail(self._follow_level(samples), 1, overlap, overlap)
        strands = [g.op("Unsqueeze", leveled, g.ints(2))]
        for index, layer in enumerate(self.model.speech_encoder.feature_encoder):
            strands = self.convolve(layer, index, strands, "")
        return self.project(g.concat(strands))

    def _follow_level(self, samples: str) -> str:
        """(B, T * stride) at about unit level; see ``follow_level``."""
        g, axis = self.graph, self.graph.ints(2)
        blocks = g.op("Reshape", samples, g.ints(0, -1, self.config.inputs_to_logits_ratio))
        self.frames = g.size(blocks, 1)
        means = g.op("ReduceMean", blocks, axis)
        ones = g.op("Add", g.op("Mul", means, g.constant(0.0)), g.constant(1.0))
        count = g.op("Add", self._sum(ones), g.constant(float(LEVEL_FRAMES)))
        centred = g.op("Sub", blocks, g.op("Div", self._sum(means), count))
        power = g.op("ReduceMean", g.op("Mul", centred, centred), axis)
        known = LEVEL_FLOOR * LEVEL_FRAMES
        square = g.op("Add", self._sum(g.op("Mul", power, power)), g.constant(known * LEVEL_FLOOR))
        level = g.op("Div", square, g.op("Add", self._sum(power), g.constant(known)))
        return g.op("Flatten", g.op("Div", centred, g.op("Sqrt", level)), axis=1)

    def _sum(self, x: str) -> str:
        """Sums (B, T, 1) of all frames so far, the earlier ones decayed."""
        g, (past, part) = self.graph, self.state.take(1, 1)
        among = g.slice(g.slice(g.constant(self.decay[1:, 1:]), 0, self.frames, 0), 0, self.frames, 1)
        of_past = g.op("Mul", past, g.slice(g.constant(self.decay[1:, :1]), 0, self.frames, 0))
        sums = g.op("Add", g.op("MatMul", among, x), of_past)
        self.state.give(part, g.op("Slice", sums, g.ints(-1), g.ints(2**62), g.ints(1)))
        return sums


class StreamTransformerWriter(TransformerWriter):
    """Writes positions and layers, which read what the state keeps of earlier frames.

    Args:
        model: see ``PartWriter``.
        graph: see there.
        state: of the graph.
        shape: how the model streams.
    """

    def __init__(self, model: BigfootForCTC, graph: GraphWriter, state: StreamState, shape: StreamingShape) -> None:
        super().__init__(model, graph)
        self.state, self.shape = state, shape

    def convolve_frames(self, conv: nn.Conv1d, x: str) -> str:
        """See ``PositionWriter``; the end of the chunk is the end of what it reads."""
        g, width = self.graph, conv.kernel_size[0]
        before = width // 2
        x = g.op("Transpose", self.state.join_tail(x, 1, before, before, conv.in_channels), perm=[0, 2, 1])
        given = [x, g.constant(conv.weight), *([] if conv.bias is None else [g.constant(conv.bias)])]
        y = g.op("Conv", *given, group=conv.groups, pads=[0, width - 1 - before])
        return g.op("Transpose", y, perm=[0, 2, 1])

    def join_past(self, x: str, axis: int, heads: int, width: int) -> str:
        """See ``TransformerWriter``."""
        cached = self.shape.cached
        return self.state.join_tail(x, axis, cached, heads, *((width, cached) if axis == 3 else (cached, width)))

    def hide_padding(self, mask: str) -> str:
        """Write what is added to scores, (B, 1, 1, keys): far below any where the state has no frame yet.

        Args:
            mask: (B, T, 1) of ones.
        """
        g, cached = self.graph, self.shape.cached
        known, part = self.state.take(1, 1, 1)
        here = g.op("Cast", g.size(mask, 1), to=1)
        self.state.give(part, g.op("Min", g.op("Add", known, here), g.constant(float(cached))))
        # Frames that are known stand at the end of the cache.
        place = g.constant(np.arange(cached, 0, -1, dtype=np.float32)[None, None, None])
        missing = g.op("Cast", g.op("Greater", place, known), to=1)  # (B, 1, 1, cached)
        hidden = g.op("Mul", missing, g.constant(-FAR_BELOW))
        return g.pad(hidden, 3, 0, g.size(mask, 1), 4)

    def distances(self, frames: str) -> str:
        """See ``TransformerWriter``; keys of the cache come first."""
        g, zero, one = self.graph, self.graph.constant(np.array(0)), self.graph.constant(np.array(1))
        scalar, cached = g.op("Squeeze", frames, g.ints(0)), g.constant(np.array(self.shape.cached))
        keys = g.op("Range", zero, g.op("Add", scalar, cached), one)
        return g.op("Sub", keys, g.op("Add", g.op("Unsqueeze", g.op("Range", zero, scalar, one), g.ints(1)), cached))


def write_stream_graph(model: BigfootForCTC) -> tuple[ModelProto, int]:
    """Write one chunk of a model that streams.

    Args:
        model: in eval mode, with a CTC head.

    Returns:
        The graph, and the size of its state.

    Raises:
        ModelError: the model has something that has no form in ONNX here.
    """
    from onnx import TensorProto

    shape = model.config.stream
    assert shape is not None and model.head is not None, "checked by check_streaming"
    g = GraphWriter(Int8Plan())
    g.part, *later = PARTS
    state = StreamState(g)
    features = StreamFeatureWriter(model, g, state, shape.chunk)
    transformer = StreamTransformerWriter(model, g, state, shape)
    x = features.write_chunk(SAMPLES)
    frames = g.size(x, 1)
    ones = g.op("Add", g.op("Mul", g.op("ReduceMean", x, g.ints(2)), g.constant(0.0)), g.constant(1.0))
    g.part = later[0]
    x = transformer.add_positions(x, ones)
    g.part = later[1]
    x = transformer.transform(x, ones, frames, frames)
    g.part = later[2]
    logits = transformer.linear(model.head, x)
    following = state.close()
    kind = TensorProto.FLOAT
    inputs: dict[str, tuple[int, list[str | int]]] = {
        SAMPLES: (kind, ["batch", "samples"]),
        STATE: (kind, ["batch", state.size]),
    }
    outputs: dict[str, tuple[str, int, list[str | int]]] = {
        "logits": (logits, kind, ["batch", "frames", model.head.out_features]),
        NEXT_STATE: (following, kind, ["batch", state.size]),
    }
    return g.build(inputs, outputs), state.size
