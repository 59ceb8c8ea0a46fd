"""Scores of disentangled attention, as nodes."""

from __future__ import annotations

import numpy as np
import torch

from bigfoot.export.conformer import ConformerWriter
from bigfoot.models.disentangled import DisentangledAttention


class DisentangledWriter(ConformerWriter):
    """Writes what relative positions add to scores; what comes of the table is multiplied out."""

    _known_rows: tuple[str, str] | None = None

    def disentangled_scores(
        self, module: DisentangledAttention, query: str, key: str, frames: str
    ) -> tuple[str, str | None]:
        """Write the queries for the product with keys, and what positions add to the scores.

        Args:
            module: of the layer.
            query: (B, H, T, head_dim).
            key: (B, H, head_dim, T).
            frames: T, (1,).

        Returns:
            The queries, and (B, H, T, T) or None.
        """
        g, holder = self.graph, self.model.speech_encoder.encoder.position_table
        table = None if holder is None else holder()
        known = {} if table is None else module.known_positions(table.detach())
        scores, scale = [], module.share * module.head_dim**-0.5
        wide = g.op("Concat", g.op("Shape", query, start=0, end=3), frames, axis=0)
        if "c2p" in known:
            by_position = g.op("MatMul", query, g.constant(known["c2p"].transpose(-1, -2) * scale))
            scores.append(g.op("GatherElements", by_position, g.op("Expand", self._rows(module, frames), wide), axis=3))
        if "p2c" in known:
            by_position = g.op("MatMul", g.constant(known["p2c"] * scale), key)  # (B, H, 2 * span, T)
            scores.append(g.op("GatherElements", by_position, g.op("Expand", self._rows(module, frames), wide), axis=2))
        return g.op("Mul", query, g.constant(np.array(module.share))), g.add(*scores) if scores else None

    def _rows(self, module: DisentangledAttention, frames: str) -> str:
        """Rows of the table for query i and key j, (T, T)."""
        if self._known_rows is None or self._known_rows[0] != frames:
            g, far = self.graph, 2 * module.max_distance
            places = self._range(frames)
            distance = g.op("Sub", g.op("Unsqueeze", places, g.ints(1)), places)
            nearer = g.op("Clip", distance, g.constant(np.array(-far)), g.constant(np.array(far)))
            rows = g.constant(module.rows(torch.arange(-far, far + 1)))
            self._known_rows = frames, g.op("Gather", rows, g.op("Add", nearer, g.ints(far)))
        return self._known_rows[1]
