"""A convolution over time with a wide kernel, computed by Fourier transforms where that is faster."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bigfoot.models.kernels import has_fast_kernels

_WIDE = 32
"""Kernels from this width on are transformed; below it the direct sum is as fast."""
_FEWEST = 2
"""So many times the kernel's width there must be of frames in a batch: transforming the kernel takes its time too."""


class WideConv1d(nn.Conv1d):
    """``nn.Conv1d`` whose wide kernels are applied in the frequency domain on a CPU.

    Overlap-save (Oppenheim & Schafer, 2010, section 8.7.3) in blocks of twice the kernel: a kernel of 128 frames takes
    a quarter of the time in training, and a tenth where audio is long, at a smaller rounding error than the direct
    sum. Blocks stand at fixed places, so that padding behind an utterance changes none of its frames.

    Examples:
        >>> conv, x = WideConv1d(4, 4, 32, padding=16, groups=2), torch.randn(1, 4, 90)
        >>> plain = nn.functional.conv1d(x, conv.weight, conv.bias, padding=16, groups=2)
        >>> torch.allclose(conv(x), plain, atol=1e-5)
        True
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        simple = self.stride == (1,) and self.dilation == (1,) and self.padding_mode == "zeros"
        fast = simple and self.kernel_size[0] >= _WIDE and input.ndim == 3 and has_fast_kernels(input, weight)
        # Asked last: a program of torch.export, which has no fast kernels, must not depend on the length.
        if not (fast and input.numel() >= _FEWEST * self.kernel_size[0] * self.in_channels):
            return super()._conv_forward(input, weight, bias)
        positions = convolve_by_blocks(input, weight, int(self.padding[0]), self.groups)
        return positions if bias is None else positions + bias[:, None]


def convolve_by_blocks(x: Tensor, weight: Tensor, padding: int, groups: int) -> Tensor:
    """Convolve in blocks of twice the kernel's width by Fourier transforms.

    Args:
        x: (B, C, T).
        weight: (D, C / groups, K).
        padding: zeros on either side.
        groups: of channels.

    Returns:
        (B, D, T + 2 * padding - K + 1).
    """
    width, batch = weight.shape[-1], len(x)
    size, frames = 2 * width, x.shape[-1] + 2 * padding - width + 1
    step = size - width + 1
    blocks = -(-frames // step)
    padded = nn.functional.pad(x, (padding, blocks * step + width - 1 - padding - x.shape[-1]))
    spectra = torch.fft.rfft(padded.unfold(-1, size, step))  # (B, C, blocks, F)
    # What convolutional layers call a convolution is a correlation: hence the conjugate.
    kernels = torch.fft.rfft(weight, n=size).conj()  # (D, C / groups, F)
    here = spectra.unflatten(1, (groups, -1)).permute(4, 1, 0, 3, 2).flatten(2, 3)  # (F, G, B * blocks, C / G)
    mixed = here @ kernels.unflatten(0, (groups, -1)).permute(3, 0, 2, 1)  # (F, G, B * blocks, D / G)
    mixed = mixed.unflatten(2, (batch, blocks)).permute(2, 1, 4, 3, 0).flatten(1, 2)  # (B, D, blocks, F)
    return torch.fft.irfft(mixed, n=size)[..., :step].flatten(2)[..., :frames]
