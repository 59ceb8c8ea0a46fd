"""Kernels fitted to what another model's convolutions give on real audio."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from bigfoot.models.feature_encoder import ConvLayer, PaddedAudio

RIDGE = 1e-5
"""Pull towards the kernel one starts from, as a share of the inputs' mean energy: decides where audio does not."""


class NormalEquations:
    """Least squares of one kernel, gathered batch by batch: min over W of |X W - Y|^2, a system a group.

    Args:
        groups: G of the convolution.
        features: inputs of one group, channels times kernel width.
        channels: outputs of one group.

    Examples:
        >>> x, kernel = torch.randn(50, 1, 3), torch.randn(1, 3, 2)
        >>> equations = NormalEquations(1, 3, 2)
        >>> equations.add(x, x.transpose(0, 1) @ kernel)
        >>> torch.allclose(equations.solve(torch.zeros(1, 3, 2)), kernel, atol=1e-3)
        True
    """

    def __init__(self, groups: int, features: int, channels: int) -> None:
        # Sums over hundreds of thousands of frames: single precision would leave few digits of the small directions.
        self.gram = torch.zeros(groups, features, features, dtype=torch.float64)
        self.cross = torch.zeros(groups, features, channels, dtype=torch.float64)

    def add(self, inputs: Tensor, targets: Tensor, weight: float = 1.0) -> None:
        """Add frames.

        Args:
            inputs: (F, G, features).
            targets: (G, F, channels).
            weight: of these frames.
        """
        x = inputs.transpose(0, 1)
        self.gram += weight * (x.transpose(1, 2) @ x).double().cpu()
        self.cross += weight * (x.transpose(1, 2) @ targets).double().cpu()

    def solve(self, start: Tensor, pull: float = RIDGE) -> Tensor:
        """Solve with a ridge towards a start.

        Args:
            start: (G, features, channels).
            pull: of the ridge, as a share of the inputs' mean energy.

        Returns:
            (G, features, channels) in the start's type; the start itself where there were no frames.
        """
        energy = self.gram.diagonal(dim1=1, dim2=2).mean(1)
        ridge = (pull * energy).clamp(min=1e-12)[:, None, None] * torch.eye(self.gram.shape[1], dtype=torch.float64)
        initial = start.double().cpu()
        step = torch.linalg.solve(self.gram + ridge, self.cross - self.gram @ initial)
        return (initial + step).to(start)


def kernel_to_matrix(kernel: Tensor, groups: int) -> Tensor:
    """Return (C_out, C_in / G, K) as (G, C_in / G * K, C_out / G)."""
    return kernel.unflatten(0, (groups, -1)).flatten(2).transpose(1, 2)


def matrix_to_kernel(matrix: Tensor, width: int) -> Tensor:
    """Return the inverse of ``kernel_to_matrix``, for kernels of so many taps."""
    return matrix.transpose(1, 2).unflatten(2, (-1, width)).flatten(0, 1)


def real_frames(x: Tensor, lengths: Tensor) -> Tensor:
    """Return the real frames of a batch in one row: (B, C, T) and (B,) to (F, C)."""
    mask = torch.arange(x.shape[-1], device=x.device) < lengths[:, None]
    return x.transpose(1, 2)[mask]


def unfold_frames(x: Tensor, layer: ConvLayer, lengths: Tensor) -> Tensor:
    """Unfold the inputs of a convolution at each real frame of its output.

    Args:
        x: (B, C_in, T_in), its input.
        layer: its kernel's width and stride count.
        lengths: real frames of its output, (B,).

    Returns:
        (F, G, C_in / G * K).
    """
    width, stride, groups = layer.conv.kernel_size[0], layer.conv.stride[0], layer.conv.groups
    seen = x.unfold(-1, width, stride)  # (B, C_in, T, K)
    mask = torch.arange(seen.shape[2], device=x.device) < lengths[:, None]
    return seen.transpose(1, 2)[mask].unflatten(1, (groups, -1)).flatten(2)


def gather_equations(
    pairs: Iterator[tuple[Tensor, Tensor, Tensor]], layer: ConvLayer, normalize: bool = False
) -> NormalEquations:
    """Gather the normal equations of one convolution over a corpus.

    Args:
        pairs: for each batch, the convolution's input (B, C_in, T_in), what it should give, without bias
            (B, C_out, T), and that one's real frames (B,).
        layer: the convolution.
        normalize: divide by the energy of what it should give, so that loud layers do not outweigh quiet ones.

    Returns:
        To be solved, or added to another convolution's.
    """
    groups, width = layer.conv.groups, layer.conv.kernel_size[0]
    equations = NormalEquations(groups, layer.conv.in_channels // groups * width, layer.conv.out_channels // groups)
    energy = 0.0
    for x, wanted, lengths in pairs:
        targets = real_frames(wanted, lengths).unflatten(1, (groups, -1)).transpose(0, 1)
        energy += float(targets.square().sum())
        equations.add(unfold_frames(x, layer, lengths), targets)
    if normalize and energy:
        equations.gram /= energy
        equations.cross /= energy
    return equations


def without_bias(layer: ConvLayer, x: Tensor) -> Tensor:
    """Compute the output of a convolution before bias, norm and activation, (B, C_out, T)."""
    return torch.nn.functional.conv1d(x, layer.conv.weight, None, layer.conv.stride, groups=layer.conv.groups)


def first_inputs(batches: Sequence[PaddedAudio]) -> tuple[list[Tensor], list[Tensor]]:
    """Return waveforms as the first convolution takes them, (B, 1, N), and their real samples, (B,), a batch each."""
    return [b.input_values.unsqueeze(1) for b in batches], [b.attention_mask.sum(1) for b in batches]
