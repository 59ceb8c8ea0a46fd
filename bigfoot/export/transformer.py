"""Transformer layers, as nodes."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import nn

from bigfoot.export.disentangled import DisentangledWriter
from bigfoot.models.attention import ReusedAttention, SelfAttention
from bigfoot.models.attention_adapter import AttentionAdapter
from bigfoot.models.conformer import ConformerLayer
from bigfoot.models.conformer_attention import ConformerAttention
from bigfoot.models.disentangled import DisentangledAttention
from bigfoot.models.feed_forward import FeedForward
from bigfoot.models.relative_bias import (
    GATE_FEATURES,
    GatedRelativeAttention,
    RelativePositionAttention,
    relative_buckets,
)
from bigfoot.models.squeezed import SqueezedEncoder
from bigfoot.models.transformer import EncoderLayer

FAR_BELOW = 1e9
"""Below any score."""
_KEY_STEP = 64
"""To multiples of it a file with static ranges pads the frames that attention weighs: the kernels of a softmax sum
whole vectors first and what is left after them, so that more zeros would change the order of the sum."""


class TransformerWriter(DisentangledWriter):
    """Writes all between the positions and the head."""

    def transform(self, x: str, mask: str, frames: str, lengths: str) -> str:
        """Write all layers.

        Args:
            x: (B, T, D) with positions.
            mask: (B, T, 1) of 0 and 1.
            frames: T, (1,).
            lengths: (B,) real frames.
        """
        g, encoder = self.graph, self.model.speech_encoder.encoder
        squeezed = encoder if isinstance(encoder, SqueezedEncoder) else None
        inner_mask, inner_frames = mask, frames
        if squeezed is not None:
            x, inner_mask, inner_frames = self.squeeze(squeezed, x, lengths)
        if not encoder.norm_first:  # SEW-D has no norm there
            x = self.norm(encoder.layer_norm, x)
        inner = x
        if (reduction := encoder.time_reduction) is not None:
            inner, inner_mask, inner_frames = self.reduce(reduction, g.op("Mul", x, mask), frames, lengths)
        self._missing_keys: str | None = self._count_missing(inner_frames)
        hidden = self.hide_padding(inner_mask)
        self._turn, self._frames = self.rotary_turn(encoder.embed_positions, inner_frames), inner_frames
        bias = self._position_bias(inner_frames)
        bias = None if bias is None else self._pad_keys(bias, 3, 4)
        maps: dict[int, str | None] = {}
        reads_states = self.model.task_head is not None and self.model.task_head.needs_layers
        # Hidden states, the input first, for a task head that sums them.
        self.states: list[str] = []

        def at_full_rate(state: str) -> str:
            if squeezed is not None:
                return self.repeat(state, squeezed.factor, inner_mask, frames)
            return state if reduction is None else self.restore(reduction, state, frames)

        if reads_states:
            self.states.append(x if squeezed is None else at_full_rate(x))
        for index, layer in enumerate(encoder.layers):
            if isinstance(layer, ConformerLayer):
                inner = self._conformer_layer(layer, inner, hidden, inner_mask)
            else:
                inner, maps[index] = self._layer(cast("EncoderLayer", layer), index, inner, hidden, bias, maps)
            if reads_states:
                self.states.append(at_full_rate(inner))
        if squeezed is not None:
            return self.upsample(squeezed.upsample, inner, inner_mask, frames)
        if reduction is not None:
            inner = self.restore(reduction, inner, frames)
        return self.norm(encoder.layer_norm, inner) if encoder.norm_first else inner

    def hide_padding(self, mask: str) -> str:
        """Write what is added to scores, (B, 1, 1, T): far below any in the padding.

        A row without a real frame has one size of it everywhere, and is thrown away.

        Args:
            mask: (B, T, 1) of 0 and 1.
        """
        g, keys = self.graph, self._pad_keys(mask, 1, 3)
        hidden = g.op("Mul", g.op("Sub", keys, g.constant(np.array(1.0))), g.constant(np.array(FAR_BELOW)))
        return g.op("Unsqueeze", g.op("Transpose", hidden, perm=[0, 2, 1]), g.ints(1))

    def _count_missing(self, frames: str) -> str | None:
        """Frames up to the next multiple of ``_KEY_STEP``, (1,); None where sums may be in any order."""
        g, step = self.graph, self.graph.ints(_KEY_STEP)
        if not g.exact:
            return None
        whole = g.op("Mul", g.op("Div", g.op("Add", frames, g.ints(_KEY_STEP - 1)), step), step)
        return g.op("Sub", whole, frames)

    def _pad_keys(self, x: str, axis: int, rank: int) -> str:
        missing = self._missing_keys
        return x if missing is None else self.graph.pad(x, axis, 0, missing, rank)

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
        distance = g.op("Clip", self.distances(frames), g.constant(np.array(-far)), g.constant(np.array(far)))
        row = g.op("Add", distance, g.ints(far))
        return g.op("Unsqueeze", g.op("Gather", g.constant(table.weight[buckets].T), row, axis=1), g.ints(0))

    def distances(self, frames: str) -> str:
        """Write by how much each frame that is attended to is later than the one that attends, (queries, keys).

        Args:
            frames: T, (1,).
        """
        g = self.graph
        scalar = g.op("Squeeze", frames, g.ints(0))
        place = g.op("Range", g.constant(np.array(0)), scalar, g.constant(np.array(1)))
        return g.op("Sub", place, g.op("Unsqueeze", place, g.ints(1)))

    def join_past(self, x: str, axis: int, heads: int, width: int) -> str:
        """Write keys or values of earlier frames before those at hand: there are none in a whole recording.

        Args:
            x: (B, H, ...), time on one of the last two axes, a head's features on the other.
            axis: of time.
            heads: H.
            width: of a head.
        """
        return x

    def _layer(
        self, layer: EncoderLayer, index: int, x: str, hidden: str, bias: str | None, maps: dict[int, str | None]
    ) -> tuple[str, str | None]:
        g, own = self.graph, None
        norms = layer.layer_norm, layer.final_layer_norm
        before, after = (norms, (None, None)) if layer.norm_first else ((None, None), norms)
        if layer.attention is not None:
            source = self.config.reused_maps[index]
            given = None if source is None else maps[source]
            attended, own = self._attention(layer.attention, self.norm(before[0], x), hidden, bias, given)
            x = g.op("Add", x, attended)
        x = self.norm(after[0], x)
        if layer.feed_forward is not None:
            x = g.op("Add", x, self._feed_forward(layer.feed_forward, self.norm(before[1], x)))
        return self._adapt(layer.adapter_layer, self.norm(after[1], x)), own

    def _adapt(self, adapter: AttentionAdapter | None, x: str) -> str:
        if adapter is None:
            return x
        inner = self.activate(self.linear(adapter.linear_1, self.norm(adapter.norm, x)), "relu")
        return self.graph.op("Add", x, self.linear(adapter.linear_2, inner))

    def _conformer_layer(self, layer: ConformerLayer, x: str, hidden: str, mask: str) -> str:
        g, half = self.graph, self.graph.constant(np.array(0.5))
        if layer.ffn1 is not None:
            x = g.op("Add", x, g.op("Mul", self._feed_forward(layer.ffn1, self.norm(layer.ffn1_layer_norm, x)), half))
        if layer.self_attn is not None:
            attended, _ = self._attention(layer.self_attn, self.norm(layer.self_attn_layer_norm, x), hidden, None, None)
            x = g.op("Add", x, attended)
        if layer.conv_module is not None:
            x = g.op("Add", x, self.convolve(layer.conv_module, x, mask))
        if layer.ffn2 is not None:
            x = g.op("Add", x, g.op("Mul", self._feed_forward(layer.ffn2, self.norm(layer.ffn2_layer_norm, x)), half))
        return self.norm(layer.final_layer_norm, x)

    def _feed_forward(self, block: FeedForward, x: str) -> str:
        inner = self.activate(self.linear(block.intermediate_dense, x), self.config.hidden_act)
        return self.linear(block.output_dense, inner)

    def _attention(
        self, module: SelfAttention | ReusedAttention, x: str, hidden: str, bias: str | None, maps: str | None
    ) -> tuple[str, str]:
        g, heads, width = self.graph, module.num_heads, module.head_dim
        shape = g.ints(0, 0, heads, width)

        def by_head(linear: nn.Module, order: list[int], given: str = x) -> str:
            return g.op("Transpose", g.op("Reshape", self.linear(linear, given), shape), perm=order)

        if isinstance(module, SelfAttention):
            turned = self.turn(x, self._turn, width)
            query, key = by_head(module.q_proj, [0, 2, 1, 3], turned), by_head(module.k_proj, [0, 2, 3, 1], turned)
            query, scores = self._position_scores(module, query, key)
            hidden = hidden if scores is None else g.op("Add", hidden, self._pad_keys(scores, 3, 4))
            key = self._pad_keys(self.join_past(key, 3, heads, width), 3, 4)
            query = g.op("Mul", query, g.constant(np.array(width**-0.5)))
            if isinstance(module, GatedRelativeAttention):
                assert bias is not None
                hidden = g.op("Add", hidden, self._gated_bias(module, x, bias))
            maps = g.op("Softmax", g.op("Add", g.op("MatMul", query, key), hidden), axis=-1)
        assert maps is not None
        value = self.join_past(by_head(module.v_proj, [0, 2, 1, 3]), 2, heads, width)
        mixed = g.op("MatMul", maps, self._pad_keys(value, 2, 4))
        mixed = g.op("Reshape", g.op("Transpose", mixed, perm=[0, 2, 1, 3]), g.ints(0, 0, heads * width))
        return self.linear(module.out_proj, mixed), maps

    def _position_scores(self, module: SelfAttention, query: str, key: str) -> tuple[str, str | None]:
        if isinstance(module, DisentangledAttention):
            return self.disentangled_scores(module, query, key, self._frames)
        if isinstance(module, ConformerAttention):
            return self.position_scores(module, query, self._frames)
        return query, None

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
