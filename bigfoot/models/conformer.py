"""Conformer layers of any shape: two half feed-forward blocks around attention and a convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.conformer_attention import ConformerAttention
from bigfoot.models.dropout import Dropout
from bigfoot.models.feed_forward import FeedForward
from bigfoot.models.low_rank import factor_linears_
from bigfoot.models.plain_names import ranks_by_path


class PointwiseConv(nn.Linear):
    """A convolution that is one frame wide, without bias: a linear map whose weight is written as a kernel.

    Args:
        in_channels: of the input.
        out_channels: of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, bias=False)
        self.weight = nn.Parameter(self.weight.detach()[..., None])  # (out, in, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, in) to (B, T, out)."""
        return nn.functional.linear(x, self.weight.flatten(1))


class ConvModule(nn.Module):
    """The convolution of a conformer layer (Gulati et al., 2020, section 2.2), blind to padding.

    A batch norm takes its stored statistics also in training: a batch's own would make an output depend on its
    neighbours.

    Args:
        config: the shape.
        channels: C of the depthwise convolution.
    """

    def __init__(self, config: BigfootConfig, channels: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.block_norm_eps)
        self.pointwise_conv1 = PointwiseConv(config.hidden_size, 2 * channels)
        self.depthwise_conv = nn.Conv1d(
            channels, channels, config.conv_depthwise_kernel_size, groups=channels, bias=False
        )
        reach = config.conv_depthwise_kernel_size - 1
        self.padding = (reach, 0) if config.conv_module_causal else (reach // 2, reach - reach // 2)
        self.batch_norm = nn.BatchNorm1d(channels) if config.conv_module_norm == "batch" else None
        self.depthwise_layer_norm = None
        if self.batch_norm is None:
            self.depthwise_layer_norm = nn.LayerNorm(channels, eps=config.block_norm_eps)
        self.activation = ACT2FN[config.hidden_act]
        self.pointwise_conv2 = PointwiseConv(channels, config.hidden_size)
        self.dropout = Dropout(config.conformer_conv_dropout)

    def forward(self, x: Tensor, frame_mask: Tensor | None) -> Tensor:
        """Convolve.

        Args:
            x: (B, T, D).
            frame_mask: (B, T), True = real; None where all are.

        Returns:
            (B, T, D).
        """
        x = nn.functional.glu(self.pointwise_conv1(self.layer_norm(x)), -1)
        if frame_mask is not None:
            # Beyond the end stand the zeros that the convolution would find there were the utterance alone.
            x = x * frame_mask.unsqueeze(-1)
        x = self.depthwise_conv(nn.functional.pad(x.transpose(1, 2), self.padding)).transpose(1, 2)
        return self.dropout(self.pointwise_conv2(self.activation(self._norm(x))))

    def _norm(self, x: Tensor) -> Tensor:
        if self.depthwise_layer_norm is not None:
            return self.depthwise_layer_norm(x)
        norm = self.batch_norm
        assert norm is not None and norm.running_var is not None and norm.running_mean is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        return x * scale + (norm.bias - norm.running_mean * scale)


class ConformerLayer(nn.Module):
    """Half a feed-forward block, attention, convolution, half a feed-forward block, norm (Gulati et al., 2020).

    Norms come first in every block. Where a block is missing, nothing is added, and its norm is missing too.

    Args:
        config: the shape.
        index: which layer, 0-based.
    """

    def __init__(self, config: BigfootConfig, index: int) -> None:
        super().__init__()
        heads, channels = config.heads_of_layers[index], config.conv_channels_of_layers[index]
        widths = config.first_widths_of_layers[index], config.widths_of_layers[index]
        self.ffn1_layer_norm = self._build_norm(config, widths[0])
        self.ffn1 = FeedForward(config, widths[0]) if widths[0] else None
        self.self_attn_layer_norm = self._build_norm(config, heads)
        self.self_attn = ConformerAttention(config, heads) if heads else None
        self.dropout = Dropout(config.attention_dropout)
        self.conv_module = ConvModule(config, channels) if channels else None
        self.ffn2_layer_norm = self._build_norm(config, widths[1])
        self.ffn2 = FeedForward(config, widths[1]) if widths[1] else None
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.block_norm_eps)
        factor_linears_(self, ranks_by_path(config, index))

    @staticmethod
    def _build_norm(config: BigfootConfig, size: int) -> nn.LayerNorm | None:
        return nn.LayerNorm(config.hidden_size, eps=config.block_norm_eps) if size else None

    @property
    def attention(self) -> ConformerAttention | None:
        """The attention, by the name that it has in the other block."""
        return self.self_attn

    @property
    def feed_forward(self) -> FeedForward | None:
        """The second feed-forward block."""
        return self.ffn2

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
            key_mask: (B, 1, 1, T), True where a frame may be attended to; None for all.
            output_attentions: also return the weights.
            position_bias: see ``ConformerAttention``.
            maps: of no meaning here: no conformer layer uses another's.
        """
        weights = None
        if self.ffn1 is not None and self.ffn1_layer_norm is not None:
            x = x + 0.5 * self.ffn1(self.ffn1_layer_norm(x))
        if self.self_attn is not None and self.self_attn_layer_norm is not None:
            attended, weights = self.self_attn(self.self_attn_layer_norm(x), key_mask, output_attentions, position_bias)
            x = x + self.dropout(attended)
        if self.conv_module is not None:
            x = x + self.conv_module(x, None if key_mask is None else key_mask[:, 0, 0])
        if self.ffn2 is not None and self.ffn2_layer_norm is not None:
            x = x + 0.5 * self.ffn2(self.ffn2_layer_norm(x))
        return self.final_layer_norm(x), weights
