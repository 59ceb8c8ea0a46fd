"""Log-mel filter banks as nodes, so that a file takes samples whatever the front end of its model is.

In the graph and not in the runtime: every runtime, and every program that knows the file alone, computes the same
features, and there is one description of them. Centring, preemphasis, window and Fourier transform are linear, and one
product in fp64 here: 21 million multiply-accumulates per second of audio.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bigfoot.export.parts import PartWriter
from bigfoot.models.log_mel import (
    FFT_SIZE,
    FULL_SCALE,
    MEL_FLOOR,
    PREEMPHASIS,
    VARIANCE_FLOOR,
    analysis_window,
    mel_filters,
)
from bigfoot.models.shape import MEL_HOP, MEL_WINDOW

_FLOAT, _DOUBLE = 1, 11
# Sums of integers are exact in any order: logarithms on this grid, and the squares of hours of them, are below 2**53.
_GRID = 2.0**12


def analysis_matrix() -> Tensor:
    """Return what makes a window's spectrum of its samples, (samples, 2 * frequencies) in fp64.

    Real parts come first, then imaginary ones.
    """
    identity = torch.eye(MEL_WINDOW, dtype=torch.float64)
    centred = identity - 1 / MEL_WINDOW
    before = torch.cat([centred[:, :1], centred[:, :-1]], 1)
    spectrum = torch.fft.rfft((centred - PREEMPHASIS * before) * analysis_window(), FFT_SIZE)
    return FULL_SCALE * torch.cat([spectrum.real, spectrum.imag], 1)


class LogMelWriter(PartWriter):
    """Writes filter banks."""

    def write(self, samples: str, lengths: str) -> tuple[str, str]:
        """Write it all.

        Args:
            samples: (B, N).
            lengths: (B,) real samples.

        Returns:
            (B, T, features), zero behind the end, and (B,) real frames.
        """
        g, stride = self.graph, self.config.mel_stride
        missing = g.op("Max", g.op("Sub", g.ints(self.config.receptive_field), g.size(samples, 1)), g.ints(0))
        mels = self._log_mels(g.pad(samples, 1, 0, missing, 2))
        enough = g.op("Max", g.op("Add", lengths, g.ints(MEL_HOP - MEL_WINDOW)), g.ints(0))
        real = g.op("Div", enough, g.ints(MEL_HOP))
        normed = self._normalize(mels, real)
        whole = g.op("Mul", g.op("Div", g.size(normed, 1), g.ints(stride)), g.ints(stride))
        features = g.op("Reshape", g.slice(normed, 0, whole, 1), g.ints(0, -1, self.config.feature_size))
        return features, g.op("Div", real, g.ints(stride))

    def _log_mels(self, samples: str) -> str:
        g = self.graph
        last = g.op("Div", g.op("Sub", g.size(samples, 1), g.ints(MEL_WINDOW)), g.ints(MEL_HOP))
        count = g.op("Squeeze", g.op("Add", last, g.ints(1)), g.ints(0))
        starts = g.op("Range", g.constant(np.array(0)), count, g.constant(np.array(1)))
        starts = g.op("Unsqueeze", g.op("Mul", starts, g.ints(MEL_HOP)), g.ints(1))
        places = g.op("Add", starts, g.constant(np.arange(MEL_WINDOW)))
        windows = g.op("Cast", g.op("Gather", samples, places, axis=1), to=_DOUBLE)  # (B, T, samples)
        spectrum = g.op("MatMul", windows, self._exact(analysis_matrix()))
        filters = mel_filters(self.config.num_mel_bins)
        energies = g.op("MatMul", g.op("Mul", spectrum, spectrum), self._exact(torch.cat([filters, filters])))
        floored = g.op("Max", energies, self._exact(torch.tensor(MEL_FLOOR)))
        return g.op("Cast", g.op("Log", floored), to=_FLOAT)

    def _exact(self, values: Tensor) -> str:
        return self.graph.constant(values.double().numpy(), np.float64)

    def _normalize(self, mels: str, real: str) -> str:
        """Bring each band to mean 0 and variance 1 over ``real`` windows, (B,)."""
        g = self.graph
        mask = g.op("Cast", self.frame_mask(g.size(mels, 1), real), to=_DOUBLE)
        full = g.op("Cast", mels, to=_DOUBLE)
        count = g.op("Unsqueeze", g.op("Cast", g.op("Max", real, g.ints(1)), to=_DOUBLE), g.ints(1, 2))
        others = g.op("Max", g.op("Sub", count, self._exact(torch.tensor(1.0))), self._exact(torch.tensor(1.0)))
        summed = full
        if g.exact:
            grid = self._exact(torch.tensor(_GRID))
            summed = g.op("Div", g.op("Round", g.op("Mul", full, grid)), grid)
        mean = g.op("Div", g.op("ReduceSum", g.op("Mul", summed, mask), g.ints(1)), count)
        centred = g.op("Mul", g.op("Sub", full, mean), mask)
        if g.exact:
            squares = g.op("ReduceSum", g.op("Mul", g.op("Mul", summed, summed), mask), g.ints(1))
            squares = g.op("Sub", squares, g.op("Mul", count, g.op("Mul", mean, mean)))
        else:
            squares = g.op("ReduceSum", g.op("Mul", centred, centred), g.ints(1))
        variance = g.op("Add", g.op("Div", squares, others), self._exact(torch.tensor(VARIANCE_FLOOR)))
        return g.op("Cast", g.op("Div", centred, g.op("Sqrt", variance)), to=_FLOAT)
