"""Layers behind the encoder that shorten time, blind to padding: convolutions alone, or the blocks of w2v-BERT."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bigfoot.models.attention import attention_key_mask
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.conformer_attention import ConformerAttention
from bigfoot.models.dropout import Dropout
from bigfoot.models.feed_forward import FeedForward


def _convolve(conv: nn.Conv1d, x: Tensor, frame_mask: Tensor | None) -> Tensor:
    """Map (B, T, D) to (B, T', D) by a convolution that makes values and their gates."""
    if frame_mask is not None:
        x = x * frame_mask.unsqueeze(-1)
    return nn.functional.glu(conv(x.transpose(1, 2)), 1).transpose(1, 2)


class PlainAdapterLayer(nn.Module):
    """One strided convolution (Li et al., 2020, section 3.1).

    Args:
        config: the shape.
    """

    def __init__(self, config: BigfootConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.conv = nn.Conv1d(
            size, 2 * size, config.adapter_kernel_size, config.adapter_stride, padding=config.adapter_padding
        )

    def forward(self, x: Tensor, before: Tensor | None, _: Tensor | None) -> Tensor:
        """See ``ConvAdapterLayer``."""
        return _convolve(self.conv, x, before)


class ConvAdapterLayer(nn.Module):
    """Two strided convolutions, one for attention and one around it, and a feed-forward block; norms come first.

    The adapters of w2v-BERT 2.0 (Barrault et al., 2023).

    Args:
        config: the shape.
    """

    def __init__(self, config: BigfootConfig) -> None:
        super().__init__()
        size, kernel, stride = config.hidden_size, config.adapter_kernel_size, config.adapter_stride
        self.residual_layer_norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.residual_conv = nn.Conv1d(size, 2 * size, kernel, stride, padding=config.adapter_padding)
        self.self_attn_layer_norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.self_attn_conv = nn.Conv1d(size, 2 * size, kernel, stride, padding=config.adapter_padding)
        self.self_attn = ConformerAttention(config, config.num_attention_heads, knows_positions=False)
        self.dropout = Dropout(config.conformer_conv_dropout)
        self.ffn_layer_norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.ffn = FeedForward(config, config.intermediate_size, config.adapter_act)

    def forward(self, x: Tensor, before: Tensor | None, after: Tensor | None) -> Tensor:
        """Map (B, T, D) to (B, T', D).

        Args:
            x: (B, T, D).
            before: (B, T), True = real; None where all are.
            after: (B, T'), the same of what comes out.
        """
        residual = _convolve(self.residual_conv, self.residual_layer_norm(x), before)
        x = _convolve(self.self_attn_conv, self.self_attn_layer_norm(x), before)
        x = self.dropout(self.self_attn(x, attention_key_mask(after), False)[0]) + residual
        return x + self.ffn(self.ffn_layer_norm(x))


class ConvAdapter(nn.Module):
    """Layers that shorten time, one behind the other.

    Args:
        config: the shape.
    """

    def __init__(self, config: BigfootConfig) -> None:
        super().__init__()
        self.shorten = config.shorten
        kind = PlainAdapterLayer if config.has_convolutions else ConvAdapterLayer
        self.layers = nn.ModuleList([kind(config) for _ in range(config.num_adapter_layers)])

    def forward(self, x: Tensor, frame_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Shorten.

        Args:
            x: (B, T, D).
            frame_mask: (B, T), True = real; None where all are.

        Returns:
            (B, T', D), and its mask.
        """
        for layer in self.layers:
            after = None
            if frame_mask is not None:
                places = torch.arange(self.shorten(x.shape[1]), device=x.device)
                after = places < self.shorten(frame_mask.sum(-1, keepdim=True))
            x, frame_mask = layer(x, frame_mask, after), after
        return x, frame_mask
