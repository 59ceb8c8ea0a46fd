"""Positional convolutions: one wide one, or a stack of narrow ones."""

from __future__ import annotations

from torch import Tensor, nn
from transformers.activations import ACT2FN

from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.streaming import Chunks, convolve_chunks
from bigfoot.models.wide_conv import WideConv1d


def zero_padding(x: Tensor, frame_mask: Tensor | None) -> Tensor:
    """Put zeros where the utterance alone would have its border.

    Args:
        x: (B, D, T).
        frame_mask: (B, T), True = real; None where all are.

    Returns:
        (B, D, T).
    """
    return x if frame_mask is None else x * frame_mask.unsqueeze(1)


def _same_length_conv(config: BigfootConfig, width: int) -> tuple[nn.Conv1d, int]:
    """Return a grouped convolution over frames, and its surplus frames: one where the kernel is even.

    It strides over as many frames as the layers take for one.
    """
    size, groups = config.hidden_size, config.num_conv_pos_embedding_groups
    stride = config.squeeze_factor
    return WideConv1d(size, size, width, stride, padding=width // 2, groups=groups), 1 - width % 2


def _convolve(conv: nn.Conv1d, surplus: int, x: Tensor, chunks: Chunks | None) -> Tensor:
    """Map (B, D, T) to (B, D, T); with chunks, without a look beyond the end of each."""
    if chunks is not None:
        return convolve_chunks(conv, x, chunks.size)
    positions = conv(x)
    return positions[..., : positions.shape[-1] - surplus]


class PositionalConv(nn.Module):
    """A wide grouped convolution whose output encodes the position of a frame (Baevski et al., 2020, section 2).

    Its kernel is weight-normalized (multiplied out where it is eight bits wide on disk), or a batch norm stands before
    it (``conv_pos_batch_norm``, some HuBERTs). That norm takes its stored statistics also in training: a batch's own
    would make an output depend on its neighbours.

    Args:
        config: the shape.
    """

    def __init__(self, config: BigfootConfig) -> None:
        super().__init__()
        conv, self.surplus = _same_length_conv(config, config.num_conv_pos_embeddings)
        self.batch_norm = nn.BatchNorm1d(config.hidden_size) if config.conv_pos_batch_norm else None
        plain = config.conv_pos_batch_norm or config.has_int8_weights
        self.conv = conv if plain else nn.utils.parametrizations.weight_norm(conv, dim=2)
        self.activation = ACT2FN[config.feat_extract_activation]

    def forward(self, x: Tensor, frame_mask: Tensor | None = None, chunks: Chunks | None = None) -> Tensor:
        """Map (B, T, D), zero where ``frame_mask`` (B, T) is false, to (B, T, D), chunk by chunk where given."""
        x = x.transpose(1, 2)
        if (norm := self.batch_norm) is not None:
            normed = nn.functional.batch_norm(
                x, norm.running_mean, norm.running_var, norm.weight, norm.bias, training=False, eps=norm.eps
            )
            x = zero_padding(normed, frame_mask)
        return self.activation(_convolve(self.conv, self.surplus, x, chunks)).transpose(1, 2)


class PositionalConvLayer(nn.Module):
    """One convolution of ``PositionalConvStack``, its norm without weights, and its activation.

    Args:
        config: the shape.
        width: of the kernel, in frames.
    """

    def __init__(self, config: BigfootConfig, width: int) -> None:
        super().__init__()
        self.conv, self.surplus = _same_length_conv(config, width)
        self.layer_norm = nn.LayerNorm(config.hidden_size, elementwise_affine=False)
        self.activation = ACT2FN[config.feat_extract_activation]

    def forward(self, x: Tensor, chunks: Chunks | None = None) -> Tensor:
        """Map (B, D, T) to (B, D, T)."""
        positions = _convolve(self.conv, self.surplus, x, chunks)
        return self.activation(self.layer_norm(positions.transpose(1, 2)).transpose(1, 2))


class PositionalConvStack(nn.Module):
    """Several narrow convolutions one after the other, as data2vec has them (Baevski et al., 2022, section 4.2).

    Args:
        config: the shape; as many as ``num_conv_pos_embeddings``.
        width: of each kernel, in frames.
    """

    def __init__(self, config: BigfootConfig, width: int) -> None:
        super().__init__()
        count = config.num_conv_pos_embeddings
        self.layers = nn.ModuleList([PositionalConvLayer(config, width) for _ in range(count)])

    def forward(self, x: Tensor, frame_mask: Tensor | None = None, chunks: Chunks | None = None) -> Tensor:
        """Map (B, T, D), zero where ``frame_mask`` (B, T) is false, to (B, T, D), chunk by chunk where given."""
        x = x.transpose(1, 2)
        for layer in self.layers:
            # Each layer writes into the padding, which the next would read.
            x = zero_padding(layer(x, chunks), frame_mask)
        return x.transpose(1, 2)


def build_positional_conv(config: BigfootConfig) -> PositionalConv | PositionalConvStack:
    """Build the positional convolution of a shape.

    Args:
        config: the shape.

    Returns:
        A module from (B, T, D) to (B, T, D).

    Examples:
        >>> shape = BigfootConfig(hidden_size=16, num_attention_heads=2, conv_pos_kernel_size=19,
        ...                       num_conv_pos_embeddings=5, num_conv_pos_embedding_groups=2)
        >>> len(build_positional_conv(shape).layers)
        5
    """
    width = config.conv_pos_kernel_size
    return PositionalConv(config) if width is None else PositionalConvStack(config, width)
