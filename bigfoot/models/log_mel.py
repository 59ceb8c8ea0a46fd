"""Log-mel filter banks from the waveform on: a front end without weights, blind to padding."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank, window_function

from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.feature_encoder import ConvLayer
from bigfoot.models.shape import MEL_HOP, MEL_WINDOW
from bigfoot.types import SAMPLE_RATE

FFT_SIZE, PREEMPHASIS, MEL_FLOOR, VARIANCE_FLOOR = 512, 0.97, 1.192092955078125e-07, 1e-7
FULL_SCALE = 2.0**15
_LOWEST_HERTZ = 20


@lru_cache(maxsize=8)
def mel_filters(bins: int) -> Tensor:
    """Return the filters on Kaldi's mel scale, (frequencies, bins) in fp64.

    Args:
        bins: how many.
    """
    filters = mel_filter_bank(
        num_frequency_bins=FFT_SIZE // 2 + 1, num_mel_filters=bins, min_frequency=_LOWEST_HERTZ,
        max_frequency=SAMPLE_RATE // 2, sampling_rate=SAMPLE_RATE, mel_scale="kaldi", triangularize_in_mel_space=True,
    )  # fmt: skip
    return torch.from_numpy(filters).double()


@lru_cache(maxsize=1)
def analysis_window() -> Tensor:
    """Return Kaldi's window, (samples,) in fp64."""
    return torch.from_numpy(window_function(MEL_WINDOW, "povey", periodic=False)).double()


class LogMel(nn.Module):
    """Kaldi's filter banks of 25 ms every 10 ms, each normalized over an utterance's real frames.

    As ``SeamlessM4TFeatureExtractor`` of transformers computes them for w2v-BERT 2.0 (Barrault et al., 2023): of
    samples that are not normalized, several frames beside each other as one. In fp64: a frame's quietest bands are a
    millionth of its loudest, and the logarithm of what rounding leaves of them in fp32 would be another number.

    Args:
        config: the shape.
    """

    def __init__(self, config: BigfootConfig) -> None:
        super().__init__()
        self.bins, self.stride = config.num_mel_bins, config.mel_stride
        self.receptive_field = config.receptive_field
        self.frames_of_outputs = config.frames_of_outputs
        self.conv_layers = nn.ModuleList()

    def __iter__(self) -> Iterator[ConvLayer]:
        return iter(())

    def mel_lengths(self, input_lengths: Tensor) -> Tensor:
        """Return the windows of so many samples, before they are put beside each other, (B,)."""
        frames = torch.div(input_lengths - MEL_WINDOW, MEL_HOP, rounding_mode="floor") + 1
        return frames.clamp(min=0)

    def layer_lengths(self, input_lengths: Tensor) -> Tensor:
        """Return the real frames of the result, from samples, (B,)."""
        return torch.div(self.mel_lengths(input_lengths), self.stride, rounding_mode="floor")

    def frame_lengths(self, input_lengths: Tensor) -> Tensor:
        """Return the real frames that come out of the model, from samples, (B,).

        Examples:
            >>> shape = BigfootConfig(front_end="log-mel", conv_dim=[], conv_kernel=[], conv_stride=[])
            >>> LogMel(shape).frame_lengths(torch.tensor([16000, 559, 560]))
            tensor([49,  0,  1])
        """
        return self.frames_of_outputs(self.layer_lengths(input_lengths))

    def forward(self, input_values: Tensor, input_lengths: Tensor | None = None) -> Tensor:
        """Compute features of waveforms.

        Args:
            input_values: (B, N), of full scale 1. Shorter than one frame's receptive field, they are padded to it.
            input_lengths: real samples of each utterance, (B,); None where all are real.

        Returns:
            (B, T, bins * stride).
        """
        missing = self.receptive_field - input_values.shape[-1]
        if missing > 0:
            input_values = nn.functional.pad(input_values, (0, missing))
        mels = self._log_mels(input_values)
        frames = mels.shape[1]
        if input_lengths is None:
            lengths = torch.full((len(mels),), frames, device=mels.device)
        else:
            lengths = self.mel_lengths(input_lengths)
        normed = _normalize(mels, lengths)
        return normed[:, : frames // self.stride * self.stride].unflatten(1, (-1, self.stride)).flatten(2)

    def _log_mels(self, input_values: Tensor) -> Tensor:
        exact = torch.float32 if input_values.device.type == "mps" else torch.float64  # Apple's GPUs have no other.
        windows = (input_values.to(exact) * FULL_SCALE).unfold(1, MEL_WINDOW, MEL_HOP)  # (B, T, samples)
        centred = windows - windows.mean(-1, keepdim=True)
        before = torch.cat([centred[..., :1], centred[..., :-1]], -1)
        shaped = (centred - PREEMPHASIS * before) * analysis_window().to(centred)
        power = torch.view_as_real(torch.fft.rfft(shaped, FFT_SIZE)).square().sum(-1)
        energies = power @ mel_filters(self.bins).to(power)
        return energies.clamp(min=MEL_FLOOR).log().to(input_values.dtype)


def _normalize(mels: Tensor, lengths: Tensor) -> Tensor:
    """Bring each band to mean 0 and variance 1 over the real frames; zeros behind them."""
    mask = (torch.arange(mels.shape[1], device=mels.device) < lengths[:, None]).unsqueeze(-1)
    count = lengths[:, None, None]
    full = mels.double() if mels.device.type != "mps" else mels.float()
    mean = (full * mask).sum(1, keepdim=True) / count.clamp(min=1)
    centred = (full - mean) * mask
    variance = centred.square().sum(1, keepdim=True) / (count - 1).clamp(min=1)
    return (centred * torch.rsqrt(variance + VARIANCE_FLOOR)).to(mels.dtype)
