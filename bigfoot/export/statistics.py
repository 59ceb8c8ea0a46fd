"""Means and variances over time, as nodes.

A sum of floats depends on the order of its terms, and a runtime orders them by the shape of the batch. In fp32 that is
rounding, and stays so. Before a layer in int8 it is not: a number that lies between two steps falls to one side alone
and to the other in a batch, and is a whole step off from there on. So files with static ranges sum integers, which are
exact in fp64 in any order: samples on a grid as fine as that of 16-bit audio at full scale.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bigfoot.export.writer import GraphWriter

_FLOAT, _DOUBLE = 1, 11
_VARIANCE_FLOOR = 1e-7
# Squares of minutes of samples with a variance of 1 still are integers below 2**53.
_WINDOW_GRID = 2.0**15
_SAMPLE_GRID = 2.0**16


def normalized(g: GraphWriter, x: str, mask: str, lengths: str) -> str:
    """Normalize utterances to zero mean and unit variance.

    Args:
        g: to write to.
        x: (B, N) samples, anything behind the end.
        mask: (B, N) of 0 and 1.
        lengths: (B,) real samples.

    Returns:
        (B, N), zero behind the end.
    """
    count = g.op("Unsqueeze", g.op("Cast", g.op("Max", lengths, g.ints(1)), to=_FLOAT), g.ints(1))
    if g.exact:
        mean, variance = _exact_moments(g, g.op("Mul", x, mask), count)
        centred = g.op("Mul", g.op("Sub", x, mean), mask)
    else:
        mean = g.op("Div", g.op("ReduceSum", g.op("Mul", x, mask), g.ints(1)), count)
        centred = g.op("Mul", g.op("Sub", x, mean), mask)
        variance = g.op("Div", g.op("ReduceSum", g.op("Mul", centred, centred), g.ints(1)), count)
    return g.op("Div", centred, g.op("Sqrt", g.op("Add", variance, g.constant(np.array(_VARIANCE_FLOOR)))))


def _exact_moments(g: GraphWriter, x: str, count: str) -> tuple[str, str]:
    """Mean and variance, (B, 1) each, of (B, N)."""
    whole, count = _on_grid(g, x, _SAMPLE_GRID), g.op("Cast", count, to=_DOUBLE)
    mean = g.op("Div", g.op("ReduceSum", whole, g.ints(1)), count)
    square = g.op("Div", g.op("ReduceSum", g.op("Mul", whole, whole), g.ints(1)), count)
    variance = g.op("Sub", square, g.op("Mul", mean, mean))
    return _off_grid(g, mean, _SAMPLE_GRID), _off_grid(g, variance, _SAMPLE_GRID**2)


def _on_grid(g: GraphWriter, x: str, grid: float) -> str:
    return g.op("Cast", g.op("Round", g.op("Mul", x, g.constant(np.array(grid)))), to=_DOUBLE)


def _off_grid(g: GraphWriter, x: str, grid: float) -> str:
    return g.op("Cast", g.op("Mul", x, g.constant(np.array(1 / grid), np.float64)), to=_FLOAT)


def channel_statistics(g: GraphWriter, windows: str, mask: str, lengths: str, kernel: Tensor) -> tuple[str, str]:
    """Return the windows without their mean, and the variance of what a convolution makes of them.

    A channel's mean and variance over an utterance follow from those of the waveform's windows: with C their
    covariance, the channel of kernel w has variance w'Cw. So the largest tensor of the model is written once and never
    read for its statistics. The covariance is summed in fp64, for w'Cw may be a small rest of large numbers.

    Args:
        g: to write to.
        windows: (B, T, K) of the waveform.
        mask: (B, T, 1) of 0 and 1.
        lengths: (B,) real frames.
        kernel: (K, C).

    Returns:
        (B, T, K) in fp32, and (B, 1, C) in fp64.
    """
    count = g.op("Cast", g.op("Max", lengths, g.ints(1)), to=_FLOAT)
    count = g.op("Unsqueeze", count, g.ints(1, 2))  # (B, 1, 1)
    if g.exact:
        return _exact_statistics(g, windows, mask, count, kernel)
    mean = g.op("Div", g.op("ReduceSum", g.op("Mul", windows, mask), g.ints(1)), count)
    centred = g.op("Sub", windows, mean)
    real = g.op("Cast", g.op("Mul", centred, mask), to=_DOUBLE)
    covariance = g.op("MatMul", g.op("Transpose", real, perm=[0, 2, 1]), real)
    covariance = g.op("Div", covariance, g.op("Cast", count, to=_DOUBLE))  # (B, K, K)
    exact = g.constant(kernel.double().numpy(), np.float64)
    return centred, g.op("ReduceSum", g.op("Mul", g.op("MatMul", covariance, exact), exact), g.ints(1))


def _exact_statistics(g: GraphWriter, windows: str, mask: str, count: str, kernel: Tensor) -> tuple[str, str]:
    whole, count = _on_grid(g, g.op("Mul", windows, mask), _WINDOW_GRID), g.op("Cast", count, to=_DOUBLE)
    mean = g.op("Div", g.op("ReduceSum", whole, g.ints(1)), count)  # (B, 1, K)
    turned = g.op("Transpose", whole, perm=[0, 2, 1])
    square = g.op("Div", g.op("MatMul", turned, whole), count)
    outer = g.op("Mul", g.op("Transpose", mean, perm=[0, 2, 1]), mean)
    covariance = g.op("Sub", square, outer)  # (B, K, K)
    # Kernels first and their sum last: then a row of the batch is a matrix of its own, whatever their number.
    exact = g.constant(kernel.double().T.numpy() / _WINDOW_GRID, np.float64)  # (C, K)
    variance = g.op("ReduceSum", g.op("Mul", g.op("MatMul", exact, covariance), exact), g.ints(2))  # (B, C, 1)
    centred = g.op("Sub", windows, _off_grid(g, mean, _WINDOW_GRID))
    return centred, g.op("Transpose", variance, perm=[0, 2, 1])


def inverse_spread(g: GraphWriter, variance: str, weight: Tensor, epsilon: float) -> str:
    """Compute the factor of each channel: the norm's weight over the standard deviation, in fp32.

    Args:
        g: to write to.
        variance: (B, 1, C) in fp64.
        weight: (C,).
        epsilon: of the norm.
    """
    spread = g.op("Sqrt", g.op("Add", variance, g.constant(np.array(epsilon, np.float64), np.float64)))
    return g.op("Div", g.constant(torch.as_tensor(weight)), g.op("Cast", spread, to=_FLOAT))
