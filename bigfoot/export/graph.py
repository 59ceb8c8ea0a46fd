"""The model written as a graph for speed: frames before channels, convolutions as products, grouped ones in strands.

PyTorch's exporter writes down what PyTorch does. Here the same function is written as processors like it: int8 products
need features last, and a grouped convolution whose followers are grouped alike is two (or more) narrow stacks that
never meet. Whether it is the same function is not promised but measured, by ``bigfoot.export.parity``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn

from bigfoot.compress.quantize import Int8Plan
from bigfoot.errors import ModelError
from bigfoot.export.writer import GraphWriter, transposed
from bigfoot.measure.size import PARTS
from bigfoot.models.attention import ReusedAttention, SelfAttention
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.feature_encoder import ConvLayer
from bigfoot.models.low_rank import LowRankLinear
from bigfoot.models.positional import PositionalConv, PositionalConvStack
from bigfoot.models.relative_bias import (
    GATE_FEATURES,
    GatedRelativeAttention,
    RelativePositionAttention,
    relative_buckets,
)
from bigfoot.models.time_reduction import TimeReduction
from bigfoot.models.transformer import EncoderLayer, FeedForward

if TYPE_CHECKING:
    from onnx import ModelProto

_ACTIVATIONS = {"gelu": ("Gelu", {}), "gelu_new": ("Gelu", {"approximate": "tanh"}), "relu": ("Relu", {})}
_FAR_BELOW = 1e9
_VARIANCE_FLOOR = 1e-7


class ModelWriter:
    """Writes one model.

    Args:
        model: in eval mode, with a head.
        plan: layers in int8.
        normalize: bring utterances to zero mean and unit variance inside.
    """

    def __init__(self, model: BigfootForCTC, plan: Int8Plan, normalize: bool) -> None:
        self.model, self.config, self.normalize = model, model.config, normalize
        self.graph = GraphWriter(plan)
        self.names = {module: name for name, module in model.speech_encoder.named_modules()}

    def write(self) -> ModelProto:
        """Write it all."""
        from onnx import TensorProto

        g, encoder = self.graph, self.model.speech_encoder
        g.part, *later = PARTS
        lengths = "lengths"
        x = self._waveform("input_values", lengths)
        strands = [x]
        for index, layer in enumerate(encoder.feature_encoder):
            lengths = self._count_frames(layer, lengths)
            strands = self._conv_layer(layer, index, strands, lengths)
        x = g.concat(strands)
        frames = g.size(x, 1)
        mask = self._frame_mask(frames, lengths)  # (B, T, 1) of 0 and 1
        x = g.op("Mul", self._projection(x), mask)
        g.part = later[0]
        x = self._positions(x, mask)
        g.part = later[1]
        x = self._transformer(x, mask, frames, lengths)
        g.part = later[2]
        assert self.model.head is not None
        logits = self._linear(self.model.head, x)
        batch: list[str | int] = ["batch"]
        return g.build(
            {"input_values": (TensorProto.FLOAT, ["batch", "samples"]), "lengths": (TensorProto.INT64, ["batch"])},
            {
                "logits": (logits, TensorProto.FLOAT, [*batch, "frames_of_longest", self.model.head.out_features]),
                "frames": (lengths, TensorProto.INT64, batch),
            },
        )

    def _activate(self, x: str, name: str) -> str:
        if name not in _ACTIVATIONS:
            known = ", ".join(_ACTIVATIONS)
            raise ModelError(f"the activation {name!r} has no form in ONNX here; known: {known}")
        kind, attributes = _ACTIVATIONS[name]
        return self.graph.op(kind, x, **attributes)

    def _norm(self, norm: nn.Module | None, x: str) -> str:
        if norm is None:
            return x
        assert isinstance(norm, nn.LayerNorm)
        size = norm.normalized_shape[0]
        weight = torch.ones(size) if norm.weight is None else norm.weight
        given = [x, self.graph.constant(weight)] + ([] if norm.bias is None else [self.graph.constant(norm.bias)])
        return self.graph.op("LayerNormalization", *given, axis=-1, epsilon=norm.eps)

    def _linear(self, module: nn.Module, x: str) -> str:
        if isinstance(module, LowRankLinear):
            return self._linear(module.up, self._linear(module.down, x))
        linear = cast("nn.Linear", module)
        name = self.names.get(module, "lm_head")
        y = self.graph.product(self.graph.prepare(x, name), transposed(linear.weight), linear.bias)
        self.graph.layers[name] = ([x], [y])
        return y

    def _waveform(self, x: str, lengths: str) -> str:
        g = self.graph
        if self.normalize:
            x = self._normalized(x, lengths)
        fewest = self.config.receptive_field
        missing = g.op("Max", g.op("Sub", g.ints(fewest), g.size(x, 1)), g.ints(0))
        return g.op("Unsqueeze", g.pad(x, 1, 0, missing, 2), g.ints(2))

    def _normalized(self, x: str, lengths: str) -> str:
        g = self.graph
        mask = g.op("Squeeze", self._frame_mask(g.size(x, 1), lengths), g.ints(2))
        count = g.op("Unsqueeze", g.op("Cast", g.op("Max", lengths, g.ints(1)), to=1), g.ints(1))
        mean = g.op("Div", g.op("ReduceSum", g.op("Mul", x, mask), g.ints(1)), count)
        centred = g.op("Mul", g.op("Sub", x, mean), mask)
        variance = g.op("Div", g.op("ReduceSum", g.op("Mul", centred, centred), g.ints(1)), count)
        return g.op("Div", centred, g.op("Sqrt", g.op("Add", variance, g.constant(np.array(_VARIANCE_FLOOR)))))

    def _count_frames(self, layer: ConvLayer, lengths: str) -> str:
        g, kernel, stride = self.graph, layer.conv.kernel_size[0], layer.conv.stride[0]
        enough = g.op("Max", g.op("Add", lengths, g.ints(stride - kernel)), g.ints(0))
        return g.op("Div", enough, g.ints(stride))

    def _frame_mask(self, frames: str, lengths: str) -> str:
        g = self.graph
        scalar = g.op("Squeeze", frames, g.ints(0))
        place = g.op("Range", g.constant(np.array(0)), scalar, g.constant(np.array(1)))
        real = g.op("Less", place, g.op("Unsqueeze", lengths, g.ints(1)))
        return g.op("Unsqueeze", g.op("Cast", real, to=1), g.ints(2))

    def _unfold(self, x: str, kernel: int, stride: int) -> str:
        """(B, T, C) to (B, T', kernel * C): what a convolution without padding sees at each step."""
        g = self.graph
        if kernel == stride == 1:
            return x
        last = g.op("Div", g.op("Sub", g.size(x, 1), g.ints(kernel)), g.ints(stride))
        reach = g.op("Add", g.op("Mul", last, g.ints(stride)), g.ints(1))
        return g.concat([g.slice(x, tap, g.op("Add", reach, g.ints(tap)), 1, stride) for tap in range(kernel)])

    def _conv_layer(self, layer: ConvLayer, index: int, strands: list[str], lengths: str) -> list[str]:
        g, conv, norm = self.graph, layer.conv, layer.layer_norm
        following = self.config.groups_of_convs[index + 1 :][:1] or [1]
        if isinstance(norm, nn.GroupNorm):
            strands = self._first_conv(conv, norm, strands[0], lengths, following[0])
        else:
            strands = self._conv(conv, strands, following[0] if norm is None else 1)
        if isinstance(norm, nn.LayerNorm):
            strands = g.split(self._norm(norm, g.concat(strands)), following[0])
        return [self._activate(strand, self.config.feat_extract_activation) for strand in strands]

    def _conv(self, conv: nn.Conv1d, strands: list[str], wanted: int) -> list[str]:
        """Convolve in strands: as many as there are groups, or as many as the next layer wants to find."""
        g, name, groups = self.graph, self.names[conv], conv.groups
        if len(strands) != groups:
            strands = g.split(g.concat(strands), groups)
        pieces = wanted if wanted % groups == 0 and conv.out_channels % wanted == 0 else groups
        kernels = conv.weight.detach().chunk(pieces)
        biases = [None] * pieces if conv.bias is None else conv.bias.detach().chunk(pieces)
        seen = []
        for strand in strands:
            planes = g.prepare(strand, name)
            unfolded = (self._unfold(plane.values, conv.kernel_size[0], conv.stride[0]) for plane in planes)
            seen.append([plane._replace(values=x) for plane, x in zip(planes, unfolded, strict=True)])
        outputs = [
            g.product(seen[piece * groups // pieces], kernel.permute(2, 1, 0).flatten(0, 1), bias)
            for piece, (kernel, bias) in enumerate(zip(kernels, biases, strict=True))
        ]
        g.layers[name] = (strands, outputs)
        return outputs

    def _first_conv(self, conv: nn.Conv1d, norm: nn.GroupNorm, x: str, lengths: str, wanted: int) -> list[str]:
        """The first convolution and its group norm as one product.

        A channel's mean and variance over an utterance follow from those of the waveform's windows: with C their
        covariance, the channel of kernel w has variance w'Cw. So the largest tensor of the model is written once and
        never read for its statistics. The covariance is summed in fp64, for w'Cw may be a small rest of large numbers.
        """
        g, kernel = self.graph, conv.weight.detach()[:, 0].T  # (K, C)
        windows = self._unfold(x, conv.kernel_size[0], conv.stride[0])  # (B, T, K)
        mask = self._frame_mask(g.size(windows, 1), lengths)
        count = g.op("Cast", g.op("Max", lengths, g.ints(1)), to=1)
        count = g.op("Unsqueeze", count, g.ints(1, 2))  # (B, 1, 1)
        mean = g.op("Div", g.op("ReduceSum", g.op("Mul", windows, mask), g.ints(1)), count)
        centred = g.op("Sub", windows, mean)
        real = g.op("Cast", g.op("Mul", centred, mask), to=11)
        covariance = g.op("MatMul", g.op("Transpose", real, perm=[0, 2, 1]), real)
        covariance = g.op("Div", covariance, g.op("Cast", count, to=11))  # (B, K, K)
        exact = g.constant(kernel.double().numpy(), np.float64)
        variance = g.op("ReduceSum", g.op("Mul", g.op("MatMul", covariance, exact), exact), g.ints(1))  # (B, 1, C)
        spread = g.op("Sqrt", g.op("Add", variance, g.constant(np.array(norm.eps, np.float64), np.float64)))
        scale = g.op("Div", g.constant(norm.weight), g.op("Cast", spread, to=1))
        scaled = g.op("Mul", g.constant(kernel), scale)  # (B, K, C)
        shift = g.op("Expand", g.constant(norm.bias[None, None]), g.op("Shape", scale))
        full = g.op("Concat", scaled, shift, axis=1)
        ones = g.op("Add", g.op("Mul", mask, g.constant(np.array(0.0))), g.constant(np.array(1.0)))
        heard = g.op("Concat", centred, ones, axis=2)
        pieces = wanted if conv.out_channels % wanted == 0 else 1
        outputs = [g.op("MatMul", heard, part) for part in g.split(full, pieces)]
        return outputs

    def _projection(self, x: str) -> str:
        projection = self.model.speech_encoder.feature_projection
        x = self._norm(projection.layer_norm, x)
        return x if projection.projection is None else self._linear(projection.projection, x)

    def _positions(self, x: str, mask: str) -> str:
        """Add positions; ``x`` is zero in the padding."""
        g, module = self.graph, self.model.speech_encoder.encoder.pos_conv_embed
        y, activation = x, self.config.feat_extract_activation
        if isinstance(module, PositionalConvStack):
            for layer in module.layers:
                y = self._same_length_conv(cast("nn.Conv1d", layer.conv), y)
                y = g.op("Mul", self._activate(self._norm(cast("nn.Module", layer.layer_norm), y), activation), mask)
            return g.op("Add", x, y)
        assert isinstance(module, PositionalConv)
        if (norm := module.batch_norm) is not None:
            assert norm.running_var is not None and norm.running_mean is not None
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            shift = norm.bias - norm.running_mean * scale
            y = g.op("Mul", g.op("Add", g.op("Mul", y, g.constant(scale)), g.constant(shift)), mask)
        return g.op("Add", x, self._activate(self._same_length_conv(module.conv, y), activation))

    def _same_length_conv(self, conv: nn.Conv1d, x: str) -> str:
        g, name, width = self.graph, self.names[conv], conv.kernel_size[0]
        before, after = width // 2, (width - 1) // 2
        kernels = conv.weight.detach().chunk(conv.groups)
        if name not in g.plan.ranges:
            turned = g.op("Transpose", x, perm=[0, 2, 1])
            given = [turned, g.constant(conv.weight), *([] if conv.bias is None else [g.constant(conv.bias)])]
            y = g.op("Conv", *given, group=conv.groups, pads=[before, after])
            y = g.op("Transpose", y, perm=[0, 2, 1])
        else:
            plane = g.prepare(g.pad(x, 1, before, after, 3), name)[0]
            scalar = g.op("Squeeze", g.size(x, 1), g.ints(0))
            starts = g.op("Range", g.constant(np.array(0)), scalar, g.constant(np.array(1)))
            places = g.op("Add", g.op("Unsqueeze", starts, g.ints(1)), g.constant(np.arange(width)))
            size = conv.in_channels // conv.groups
            shape = g.op("Concat", g.op("Shape", x, start=0, end=2), g.ints(width * size), axis=0)
            biases = [None] * conv.groups if conv.bias is None else conv.bias.detach().chunk(conv.groups)
            outputs = []
            for strand, kernel, bias in zip(g.split(plane.values, conv.groups), kernels, biases, strict=True):
                windows = g.op("Reshape", g.op("Gather", strand, places, axis=1), shape)
                outputs.append(g.product([plane._replace(values=windows)], kernel.permute(2, 1, 0).flatten(0, 1), bias))
            y = g.concat(outputs)
        g.layers[name] = ([x], [y])
        return y

    def _transformer(self, x: str, mask: str, frames: str, lengths: str) -> str:
        g, encoder = self.graph, self.model.speech_encoder.encoder
        if not encoder.norm_first:
            x = self._norm(encoder.layer_norm, x)
        inner, inner_mask, inner_frames = x, mask, frames
        if (reduction := encoder.time_reduction) is not None:
            inner, inner_mask, inner_frames = self._reduce(reduction, g.op("Mul", x, mask), frames, lengths)
        # Far below any score; a row without a real frame has one size of it everywhere, and is thrown away.
        hidden = g.op("Mul", g.op("Sub", inner_mask, g.constant(np.array(1.0))), g.constant(np.array(_FAR_BELOW)))
        hidden = g.op("Unsqueeze", g.op("Transpose", hidden, perm=[0, 2, 1]), g.ints(1))  # (B, 1, 1, T)
        bias = self._position_bias(inner_frames)
        maps: dict[int, str | None] = {}
        for index, layer in enumerate(encoder.layers):
            inner, maps[index] = self._layer(cast("EncoderLayer", layer), index, inner, hidden, bias, maps)
        if reduction is not None:
            inner = self._restore(reduction, inner, frames)
        return self._norm(encoder.layer_norm, inner) if encoder.norm_first else inner

    def _reduce(self, reduction: TimeReduction, x: str, frames: str, lengths: str) -> tuple[str, str, str]:
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
        return y, self._frame_mask(fewer, real), fewer

    def _restore(self, reduction: TimeReduction, x: str, frames: str) -> str:
        g, conv = self.graph, reduction.upsampler
        kernel = conv.weight.detach().permute(0, 2, 1).flatten(1)  # (D, factor * D)
        bias = None if conv.bias is None else conv.bias.detach().repeat(reduction.factor)
        y = g.product(g.prepare(x, self.names[conv]), kernel, bias)
        spread = g.op("Reshape", y, g.ints(0, -1, conv.out_channels))
        g.layers[self.names[conv]] = ([x], [spread])
        return g.slice(spread, 0, frames, 1)

    def _position_bias(self, frames: str) -> str | None:
        """(1, heads of the model, T, T), or None."""
        g, encoder = self.graph, self.model.speech_encoder.encoder
        if encoder.table_layer is None:
            return None
        holder = cast("EncoderLayer", encoder.layers[encoder.table_layer]).attention
        if not isinstance(holder, RelativePositionAttention):
            return None
        far = holder.max_distance
        table = holder.rel_attn_embed
        buckets = relative_buckets(torch.arange(-far, far + 1), table.num_embeddings, far)
        scalar = g.op("Squeeze", frames, g.ints(0))
        place = g.op("Range", g.constant(np.array(0)), scalar, g.constant(np.array(1)))
        distance = g.op("Sub", place, g.op("Unsqueeze", place, g.ints(1)))
        row = g.op("Add", g.op("Clip", distance, g.constant(np.array(-far)), g.constant(np.array(far))), g.ints(far))
        return g.op("Unsqueeze", g.op("Gather", g.constant(table.weight[buckets].T), row, axis=1), g.ints(0))

    def _layer(
        self, layer: EncoderLayer, index: int, x: str, hidden: str, bias: str | None, maps: dict[int, str | None]
    ) -> tuple[str, str | None]:
        g, own = self.graph, None
        norms = layer.layer_norm, layer.final_layer_norm
        before, after = (norms, (None, None)) if layer.norm_first else ((None, None), norms)
        if layer.attention is not None:
            source = self.config.reused_maps[index]
            given = None if source is None else maps[source]
            attended, own = self._attention(layer.attention, self._norm(before[0], x), hidden, bias, given)
            x = g.op("Add", x, attended)
        x = self._norm(after[0], x)
        if layer.feed_forward is not None:
            x = g.op("Add", x, self._feed_forward(layer.feed_forward, self._norm(before[1], x)))
        return self._norm(after[1], x), own

    def _feed_forward(self, block: FeedForward, x: str) -> str:
        inner = self._activate(self._linear(block.intermediate_dense, x), self.config.hidden_act)
        return self._linear(block.output_dense, inner)

    def _attention(
        self, module: SelfAttention | ReusedAttention, x: str, hidden: str, bias: str | None, maps: str | None
    ) -> tuple[str, str]:
        g, heads, width = self.graph, module.num_heads, module.head_dim
        shape = g.ints(0, 0, heads, width)

        def by_head(linear: nn.Module, order: list[int]) -> str:
            return g.op("Transpose", g.op("Reshape", self._linear(linear, x), shape), perm=order)

        if isinstance(module, SelfAttention):
            query, key = by_head(module.q_proj, [0, 2, 1, 3]), by_head(module.k_proj, [0, 2, 3, 1])
            query = g.op("Mul", query, g.constant(np.array(width**-0.5)))
            if isinstance(module, GatedRelativeAttention):
                assert bias is not None
                hidden = g.op("Add", hidden, self._gated_bias(module, x, bias))
            maps = g.op("Softmax", g.op("Add", g.op("MatMul", query, key), hidden), axis=-1)
        assert maps is not None
        mixed = g.op("MatMul", maps, by_head(module.v_proj, [0, 2, 1, 3]))
        mixed = g.op("Reshape", g.op("Transpose", mixed, perm=[0, 2, 1, 3]), g.ints(0, 0, heads * width))
        return self._linear(module.out_proj, mixed), maps

    def _gated_bias(self, module: GatedRelativeAttention, x: str, bias: str) -> str:
        g = self.graph
        shares = g.op("Reshape", x, g.ints(0, 0, -1, module.head_dim))
        if module.position_heads is not None:
            chosen = g.constant(np.array(module.position_heads, np.int64))
            shares, bias = g.op("Gather", shares, chosen, axis=2), g.op("Gather", bias, chosen, axis=1)
        linear = module.gru_rel_pos_linear
        # The sum over a gate's features is part of the map.
        weight = linear.weight.detach().unflatten(0, (2, GATE_FEATURES)).sum(1)
        opened = g.op("MatMul", shares, g.constant(weight.T))
        opened = g.op("Add", opened, g.constant(linear.bias.detach().unflatten(0, (2, GATE_FEATURES)).sum(1)))
        turned = g.op("Transpose", g.op("Sigmoid", opened), perm=[0, 2, 1, 3])  # (B, H, T, 2)
        update, reset = g.split(turned, 2)
        inner = g.op("Sub", g.op("Mul", reset, g.constant(module.gru_rel_pos_const)), g.constant(np.array(1.0)))
        gate = g.op("Add", g.op("Mul", update, inner), g.constant(np.array(2.0)))
        return g.op("Mul", gate, bias)
