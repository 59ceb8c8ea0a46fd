"""The convolutional feature encoder: waveform in, one vector every 20 ms out, blind to padding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.dropout import Dropout
from bigfoot.models.kernels import has_fast_kernels
from bigfoot.models.norm_activation import norm_and_gelu
from bigfoot.models.running import RunsLayers
from bigfoot.models.streaming import ChannelScale, follow_level


class PaddedAudio(NamedTuple):
    """Audio for steps that use features alone: fitting, comparing, calibrating.

    Args:
        input_values: (B, N), normalized by the processor.
        attention_mask: (B, N), True = real.
    """

    input_values: Tensor
    attention_mask: Tensor


def masked_group_norm(x: Tensor, lengths: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Normalize each channel over an utterance's real frames alone.

    ``torch.nn.GroupNorm`` with one group a channel also averages over padding, so that an output changes with the
    batch it is in. Statistics are taken in fp32: sums over thousands of frames do not survive half precision.

    Args:
        x: (B, C, T).
        lengths: real frames of each utterance, (B,), 0 to T.
        weight: (C,).
        bias: (C,).
        eps: added to the variance.

    Returns:
        (B, C, T) in the type of ``x``; frames beyond the length are finite and meaningless.

    Examples:
        >>> x = torch.randn(1, 4, 9)
        >>> ours = masked_group_norm(x, torch.tensor([9]), torch.ones(4), torch.zeros(4), 1e-5)
        >>> torch.allclose(ours, nn.functional.group_norm(x, 4), atol=1e-5)
        True
    """
    mask = (torch.arange(x.shape[-1], device=x.device) < lengths[:, None]).unsqueeze(1)  # (B, 1, T)
    count = lengths.clamp(min=1).to(torch.float32)[:, None, None]
    full = x.float()
    mean = (full * mask).sum(-1, keepdim=True) / count
    centred = full - mean
    variance = (centred.square() * mask).sum(-1, keepdim=True) / count
    scale = torch.rsqrt(variance + eps) * weight.float()[:, None]
    return (centred * scale + bias.float()[:, None]).to(x.dtype)


class ConvLayer(nn.Module):
    """One convolution, its norm and its activation.

    Args:
        config: the shape.
        index: which layer, 0-based.
    """

    def __init__(self, config: BigfootConfig, index: int) -> None:
        super().__init__()
        channels_in = 1 if index == 0 else config.conv_dim[index - 1]
        channels = config.conv_dim[index]
        self.conv = nn.Conv1d(
            channels_in,
            channels,
            config.conv_kernel[index],
            stride=config.conv_stride[index],
            groups=config.groups_of_convs[index],
            bias=config.conv_bias,
        )
        self.layer_norm: nn.Module | None = None
        if config.feat_extract_norm == "layer":
            self.layer_norm = nn.LayerNorm(channels)
        elif index == 0:
            streams = config.streaming is not None
            self.layer_norm = ChannelScale(channels) if streams else nn.GroupNorm(channels, channels)
        self.activation = ACT2FN[config.feat_extract_activation]
        self.is_gelu = config.feat_extract_activation == "gelu"

    def count_frames(self, lengths: Tensor) -> Tensor:
        """Return the real frames after this layer, from real frames before it, (B,)."""
        frames = torch.div(lengths - self.conv.kernel_size[0], self.conv.stride[0], rounding_mode="floor") + 1
        return frames.clamp(min=0)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Convolve, normalize, activate.

        Args:
            x: (B, C_in, T_in).
            lengths: real frames of the output, (B,); None where all are real.

        Returns:
            (B, C, T).
        """
        x = self.conv(x)
        if isinstance(self.layer_norm, nn.LayerNorm):
            x = self.layer_norm(x.transpose(1, 2)).transpose(1, 2)
        elif isinstance(self.layer_norm, ChannelScale):
            x = self.layer_norm(x)
        elif isinstance(norm := self.layer_norm, nn.GroupNorm):
            if self.is_gelu and has_fast_kernels(x, norm.weight):
                return norm_and_gelu(x, lengths, norm.weight, norm.bias, norm.eps)
            x = norm(x) if lengths is None else masked_group_norm(x, lengths, norm.weight, norm.bias, norm.eps)
        if self.is_gelu and not torch.is_grad_enabled():
            # The first layers' outputs are the largest tensors of the model, and a shallow student would spend a good
            # part of its time on the system handing out fresh memory for a second copy of them.
            return torch.ops.aten.gelu_(x)
        return self.activation(x)


class FeatureEncoder(RunsLayers):
    """The stack of convolutions, group-norm (base) or layer-norm (large-lv60), each with its own groups.

    Args:
        config: the shape.
    """

    def __init__(self, config: BigfootConfig) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList([ConvLayer(config, index) for index in range(config.num_conv_layers)])
        self.receptive_field, self.stride = config.receptive_field, config.inputs_to_logits_ratio
        self.frames_of_outputs, self.follows_level = config.frames_of_outputs, config.streaming is not None
        for layer, owner in zip(self, config.kernel_owners, strict=True):
            layer.conv.weight = cast("ConvLayer", self.conv_layers[owner]).conv.weight

    def __iter__(self) -> Iterator[ConvLayer]:
        # A ModuleList does not know what it holds.
        yield from cast("Iterator[ConvLayer]", iter(self.conv_layers))

    def frame_lengths(self, input_lengths: Tensor) -> Tensor:
        """Return the real frames that come out of the model, from samples, (B,).

        Examples:
            >>> FeatureEncoder(BigfootConfig(conv_dim=[8] * 7)).frame_lengths(torch.tensor([16000, 399, 400]))
            tensor([49,  0,  1])
        """
        return self.frames_of_outputs(self.layer_lengths(input_lengths))

    def layer_lengths(self, input_lengths: Tensor) -> Tensor:
        """Return the real frames of the result, which go into the layers, from samples, (B,)."""
        for layer in self:
            input_lengths = layer.count_frames(input_lengths)
        return input_lengths

    def forward(self, input_values: Tensor, input_lengths: Tensor | None = None) -> Tensor:
        """Compute features of waveforms.

        Args:
            input_values: (B, N). Shorter than one frame's receptive field, they are padded to it.
            input_lengths: real samples of each utterance, (B,); None where all are real.

        Returns:
            (B, T, C).
        """
        missing = self.receptive_field - input_values.shape[-1]
        if missing > 0:
            input_values = nn.functional.pad(input_values, (0, missing))
        if self.follows_level:
            input_values = follow_level(input_values, self.receptive_field - self.stride, self.stride)
        x, lengths = input_values.unsqueeze(1), input_lengths
        for layer in self:
            lengths = None if lengths is None else layer.count_frames(lengths)
            x = self.runner(layer, x, lengths)
        return x.transpose(1, 2)


class FeatureProjection(nn.Module):
    """Normalizes the conv features and projects them to the encoder's width.

    Without the norm where ``feat_proj_layer_norm`` is false, without the linear map where ``feature_projection`` is
    ``none``.

    Args:
        config: the shape.
    """

    def __init__(self, config: BigfootConfig) -> None:
        super().__init__()
        self.layer_norm: nn.LayerNorm | None = None
        if config.feat_proj_layer_norm:
            self.layer_norm = nn.LayerNorm(config.feature_size, eps=config.projection_norm_eps)
        self.projection: nn.Linear | None = None
        if config.feature_projection == "linear":
            self.projection = nn.Linear(config.feature_size, config.hidden_size)
        self.dropout = Dropout(config.feat_proj_dropout)

    def forward(self, conv_features: Tensor) -> Tensor:
        """Project (B, T, C) to (B, T, D)."""
        normed = conv_features if self.layer_norm is None else self.layer_norm(conv_features)
        return self.dropout(normed if self.projection is None else self.projection(normed))
