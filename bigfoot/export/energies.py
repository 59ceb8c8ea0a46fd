"""Features of the waveform beside the encoder as nodes: windows and their spectrum are one convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from bigfoot.export.parts import PartWriter
from bigfoot.models.tasks.energies import HOP, SCALE, PooledEnergies
from bigfoot.models.tasks.periodicity import DECIMATION, FRAME, NOISE, STEP, PooledPeriodicity, smoothing, transforms


class EnergyWriter(PartWriter):
    """Writes log-mel energies and periodicity of a task head."""

    def write(self, part: Any, waveform: str, lengths: str) -> tuple[str, str, str]:  # noqa: ANN401 - of ``beside``
        """Write frames, not yet pooled.

        Args:
            part: of the head.
            waveform: (B, N, 1), normalized.
            lengths: (B,) real samples.

        Returns:
            (B, T, C) of 0 on padding, (B, T, 1) of 0 and 1, and (B,) real frames.
        """
        g = self.graph
        missing = g.op("Max", g.op("Sub", g.ints(part.window), g.size(waveform, 1)), g.ints(0))
        padded = g.op("Transpose", g.pad(waveform, 1, 0, missing, 3), perm=[0, 2, 1])
        if isinstance(part, PooledEnergies):
            hop, values = HOP, self._energies(part, padded)
        else:
            assert isinstance(part, PooledPeriodicity)
            hop, values = part.hop, self._periodicity(part, padded)
        enough = g.op("Max", g.op("Add", lengths, g.ints(hop - part.window)), g.ints(0))
        frames = g.op("Div", enough, g.ints(hop))
        mask = self.frame_mask(g.size(values, 1), frames)
        return g.op("Mul", values, mask), mask, frames

    def _energies(self, energies: PooledEnergies, padded: str) -> str:
        g, bands = self.graph, energies.fbank.triangles(torch.device("cpu"))
        power = self._power(padded, energies.window, energies.window, HOP)
        floor = g.constant(np.array(energies.fbank.least))
        logs = g.op("Log", g.op("Max", g.op("MatMul", power, g.constant(bands)), floor))
        return g.op("Mul", logs, g.constant(np.array(SCALE)))

    def _periodicity(self, periodicity: PooledPeriodicity, padded: str) -> str:
        g = self.graph
        smooth = g.op("Conv", padded, g.constant(smoothing()[None, None]), strides=[DECIMATION])
        power = self._power(smooth, FRAME, 2 * FRAME, STEP)
        cosines, weights = (g.constant(each) for each in transforms(periodicity.num_lags))
        energy = g.op("Add", g.op("MatMul", power, weights), g.constant(np.array(NOISE)))
        return g.op("Div", g.op("MatMul", power, cosines), energy)

    def _power(self, waveform: str, window: int, points: int, hop: int) -> str:
        """From (B, 1, N) to (B, T, bins)."""
        g = self.graph
        spectrum = g.op("Conv", waveform, g.constant(_spectrum_kernels(window, points)), strides=[hop])
        real, imaginary = g.split(g.op("Mul", spectrum, spectrum), 2, 1)
        return g.op("Transpose", g.op("Add", real, imaginary), perm=[0, 2, 1])


def _spectrum_kernels(size: int, points: int) -> np.ndarray:
    """(2 bins, 1, K): cosines, then sines, of each bin under a Hann window of K samples."""
    window = torch.hann_window(size, periodic=False, dtype=torch.float64).numpy()
    turns = 2 * np.pi * np.outer(np.arange(points // 2 + 1), np.arange(size)) / points
    return (np.concatenate([np.cos(turns), np.sin(turns)]) * window)[:, None].astype(np.float32)
