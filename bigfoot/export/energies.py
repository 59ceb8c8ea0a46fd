"""Log-mel energies beside the encoder as nodes: windows and their spectrum are one convolution."""

from __future__ import annotations

import numpy as np
import torch

from bigfoot.export.parts import PartWriter
from bigfoot.models.tasks.energies import HOP, SCALE, PooledEnergies


class EnergyWriter(PartWriter):
    """Writes the log-mel energies of a task head."""

    def write(self, energies: PooledEnergies, waveform: str, lengths: str) -> tuple[str, str, str]:
        """Write energies, not yet pooled.

        Args:
            energies: of the head.
            waveform: (B, N, 1), normalized.
            lengths: (B,) real samples.

        Returns:
            (B, T, C) of 0 on padding, (B, T, 1) of 0 and 1, and (B,) real frames.
        """
        g, bands = self.graph, energies.fbank.triangles(torch.device("cpu"))
        window = energies.window
        missing = g.op("Max", g.op("Sub", g.ints(window), g.size(waveform, 1)), g.ints(0))
        padded = g.op("Transpose", g.pad(waveform, 1, 0, missing, 3), perm=[0, 2, 1])
        spectrum = g.op("Conv", padded, g.constant(_spectrum_kernels(window)), strides=[HOP])  # (B, 2 bins, T)
        real, imaginary = g.split(g.op("Mul", spectrum, spectrum), 2, 1)
        power = g.op("Transpose", g.op("Add", real, imaginary), perm=[0, 2, 1])
        floor = g.constant(np.array(energies.fbank.least))
        logs = g.op("Log", g.op("Max", g.op("MatMul", power, g.constant(bands)), floor))
        enough = g.op("Max", g.op("Add", lengths, g.ints(HOP - window)), g.ints(0))
        frames = g.op("Div", enough, g.ints(HOP))
        mask = self.frame_mask(g.size(logs, 1), frames)
        return g.op("Mul", g.op("Mul", logs, g.constant(np.array(SCALE))), mask), mask, frames


def _spectrum_kernels(size: int) -> np.ndarray:
    """(2 bins, 1, K): cosines, then sines, of each bin under a Hann window of K samples."""
    window = torch.hann_window(size, periodic=False, dtype=torch.float64).numpy()
    turns = 2 * np.pi * np.outer(np.arange(size // 2 + 1), np.arange(size)) / size
    return (np.concatenate([np.cos(turns), np.sin(turns)]) * window)[:, None].astype(np.float32)
