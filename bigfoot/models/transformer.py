"""Positional convolution and transformer layers of any shape."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from bigfoot.models.attention import ReusedAttention, SelfAttention, attention_key_mask
from bigfoot.models.attention_adapter import AttentionAdapter
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.conformer import ConformerLayer
from bigfoot.models.conformer_positions import RotaryPositions
from bigfoot.models.disentangled import DisentangledAttention, PositionTable
from bigfoot.models.dropout import Dropout
from bigfoot.models.feed_forward import FeedForward
from bigfoot.models.low_rank import factor_linears_
from bigfoot.models.outputs import SpeechEncoderOutput
from bigfoot.models.plain_names import ranks_by_path
from bigfoot.models.positional import build_positional_conv
from bigfoot.models.relative_bias import GatedRelativeAttention, RelativePositionAttention
from bigfoot.models.running import RunsLayers
from bigfoot.models.streaming import Chunks
from bigfoot.models.time_reduction import TimeReduction


def build_attention(config: BigfootConfig, index: int) -> SelfAttention | ReusedAttention | None:
    """Build a layer's attention; where there is a position bias, the first layer with one holds its table.

    Args:
        config: the shape.
        index: which layer, 0-based.

    Returns:
        None where the layer has no heads.
    """
    heads = config.heads_of_layers[index]
    shape = (config.hidden_size, heads, config.head_dim, config.attention_dropout)
    if not heads:
        return None
    if config.reused_maps[index] is not None:
        return ReusedAttention(*shape)
    if config.is_disentangled:
        return DisentangledAttention(config, heads)
    if config.num_buckets is None:
        return SelfAttention(*shape)
    position_heads = config.position_heads_of_layers[index]
    if index == config.position_table_layer:
        return RelativePositionAttention(*shape, position_heads, config.num_buckets, config.max_bucket_distance)
    return GatedRelativeAttention(*shape, position_heads)


class EncoderLayer(nn.Module):
    """Attention and feed-forward, the norms after them (base) or before them (``do_stable_layer_norm``).

    Where a block is missing, nothing is added. The norm before it is missing too; the norm after it stays, for what
    follows is used to normalized frames.

    Args:
        config: the shape.
        index: which layer, 0-based.
    """

    def __init__(self, config: BigfootConfig, index: int) -> None:
        super().__init__()
        self.norm_first = config.do_stable_layer_norm
        width = config.widths_of_layers[index]
        self.attention = build_attention(config, index)
        self.dropout = Dropout(config.hidden_dropout)
        self.layer_norm = self._build_norm(config, self.attention is not None)
        self.feed_forward = FeedForward(config, width) if width else None
        self.final_layer_norm = self._build_norm(config, self.feed_forward is not None)
        self.adapter_layer: AttentionAdapter | None = None
        if config.adapter_attn_dim is not None:
            self.adapter_layer = AttentionAdapter(config.hidden_size, config.adapter_attn_dim)
        factor_linears_(self, ranks_by_path(config, index))

    def _build_norm(self, config: BigfootConfig, has_block: bool) -> nn.LayerNorm | None:
        needed = has_block or not self.norm_first
        return nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if needed else None

    def _attend(
        self, x: Tensor, key_mask: Tensor | None, wants_maps: bool, position_bias: Tensor | None, maps: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        if isinstance(self.attention, ReusedAttention):
            assert maps is not None, "the encoder keeps the maps of the layers that lend theirs"
            return self.attention(x, maps), maps
        assert self.attention is not None
        attended, maps = self.attention(x, key_mask, wants_maps, position_bias)
        return attended, maps

    def forward(
        self,
        x: Tensor,
        key_mask: Tensor | None,
        output_attentions: bool,
        position_bias: Tensor | None = None,
        maps: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Map (B, T, D) to (B, T, D), with the attention weights where asked for.

        Args:
            x: (B, T, D).
            key_mask: see ``SelfAttention``.
            output_attentions: see there.
            position_bias: see there.
            maps: (B, H, T, T), another layer's, for a layer that has none of its own.
        """
        weights = None
        norms = self.layer_norm, self.final_layer_norm
        before, after = (norms, (None, None)) if self.norm_first else ((None, None), norms)
        if self.attention is not None:
            attention_input = x if before[0] is None else before[0](x)
            attended, weights = self._attend(attention_input, key_mask, output_attentions, position_bias, maps)
            x = x + self.dropout(attended)
        x = x if after[0] is None else after[0](x)
        if self.feed_forward is not None:
            x = x + self.feed_forward(x if before[1] is None else before[1](x))
        x = x if after[1] is None else after[1](x)
        return x if self.adapter_layer is None else x + self.adapter_layer(x), weights


def build_layer(config: BigfootConfig, index: int) -> EncoderLayer | ConformerLayer:
    """Build a layer of the block that a shape has.

    Args:
        config: the shape.
        index: which layer, 0-based.
    """
    return ConformerLayer(config, index) if config.is_conformer else EncoderLayer(config, index)


class TransformerEncoder(RunsLayers):
    """Positional convolution and layers, of transformers or conformers.

    Args:
        config: the shape.
    """

    compiles = True

    def __init__(self, config: BigfootConfig) -> None:
        super().__init__()
        self.norm_first, self.adds_positions = config.do_stable_layer_norm, config.positional_conv == "added"
        self.pos_conv_embed = nn.Identity() if config.positional_conv == "none" else build_positional_conv(config)
        self.embed_positions: RotaryPositions | None = None
        if config.position_embeddings_type == "rotary":
            self.embed_positions = RotaryPositions(config)
        self.position_table = PositionTable(config) if config.is_disentangled else None
        self.layer_norm: nn.LayerNorm | None = None
        if config.final_norm:
            self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout)
        self.time_reduction: TimeReduction | None = None
        if config.time_reduction > 1:
            self.time_reduction = TimeReduction(config.hidden_size, config.time_reduction)
        self.layers = nn.ModuleList([build_layer(config, index) for index in range(config.num_hidden_layers)])
        self.reused_maps, self.table_layer = config.reused_maps, config.position_table_layer

    def enter(self, x: Tensor) -> Tensor:
        """Make the first layer's input of frames with positions."""
        return self.dropout(x if self.norm_first or self.layer_norm is None else self.layer_norm(x))

    def _position_bias(self, frames: int) -> Tensor | None:
        """Compute what all layers share of positions; None where there is nothing."""
        if self.embed_positions is not None:
            return self.embed_positions(frames)
        if self.position_table is not None:
            return self.position_table()
        if self.table_layer is None:
            return None
        holder = cast("EncoderLayer", self.layers[self.table_layer]).attention
        return holder.compute_position_bias(frames) if isinstance(holder, RelativePositionAttention) else None

    def _run_layers(
        self, x: Tensor, key_mask: Tensor | None, output_attentions: bool
    ) -> tuple[list[Tensor], list[Tensor | None]]:
        """Return the outputs of each layer, the input first, and the attention weights as far as requested."""
        position_bias = self._position_bias(x.shape[1])
        hidden_states, attentions = [x], []
        lent: dict[int, Tensor | None] = {}
        for index, (layer, source) in enumerate(zip(self.layers, self.reused_maps, strict=True)):
            lends = index in self.reused_maps
            maps = None if source is None else lent[source]
            x, weights = self.runner(layer, x, key_mask, output_attentions or lends, position_bias, maps)
            if lends:
                lent[index] = weights
            hidden_states.append(x)
            attentions.append(weights)
        return hidden_states, attentions

    def forward(
        self, x: Tensor, frame_mask: Tensor | None, output_hidden_states: bool, output_attentions: bool,
        chunks: Chunks | None = None,
    ) -> SpeechEncoderOutput:  # fmt: skip
        """Encode (B, T, D) frames, all at once or as ``chunks`` have it; see ``SpeechEncoderOutput``."""
        if frame_mask is not None:
            # The positional convolution is wide: it must find zeros where the utterance alone would have its border.
            x = x * frame_mask.unsqueeze(-1)
        if self.adds_positions:
            x = x + self.pos_conv_embed(x, frame_mask, chunks)
        x = self.enter(x)
        if self.time_reduction is None:
            mask = attention_key_mask(frame_mask) if chunks is None else chunks.mask(x.shape[1], frame_mask, x.device)
            hidden_states, attentions = self._run_layers(x, mask, output_attentions)
        else:
            reduced, reduced_mask = self.time_reduction.reduce(x, frame_mask)
            hidden_states, attentions = self._run_layers(
                reduced, attention_key_mask(reduced_mask), output_attentions
            )
            # Losses compare frame by frame, so that every state asked for comes at the rate of the audio's frames.
            wanted = range(1, len(hidden_states)) if output_hidden_states else [len(hidden_states) - 1]
            hidden_states = [x, *(self.time_reduction.restore(hidden_states[i], x.shape[1]) for i in wanted)]
        last = hidden_states[-1]
        return SpeechEncoderOutput(
            last_hidden_state=self.layer_norm(last) if self.norm_first and self.layer_norm is not None else last,
            hidden_states=tuple(hidden_states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )
