"""The state of a graph that runs chunk by chunk: one row of numbers an utterance, all zero at its start."""

from __future__ import annotations

import math

from bigfoot.export.writer import GraphWriter

STATE, NEXT_STATE = "state", "next_state"


class StreamState:
    """Places in the state, taken and written back part by part.

    Args:
        graph: to write to.
    """

    def __init__(self, graph: GraphWriter) -> None:
        self.graph, self.size = graph, 0
        self._next: list[str] = []

    def take(self, *shape: int) -> tuple[str, int]:
        """Write what the last chunk left.

        Args:
            shape: of the part, but for the batch.

        Returns:
            (B, shape), and a number by which ``give`` knows the part.
        """
        g, start = self.graph, self.size
        self.size += math.prod(shape)
        self._next.append("")
        flat = g.slice(STATE, start, g.ints(self.size), 1)
        return g.op("Reshape", flat, g.ints(0, *shape)), len(self._next) - 1

    def give(self, part: int, x: str) -> None:
        """Write what this chunk leaves.

        Args:
            part: of ``take``.
            x: as ``take`` gave it.
        """
        self._next[part] = self.graph.op("Flatten", x, axis=1)

    def join_tail(self, x: str, axis: int, length: int, *shape: int) -> str:
        """Write the end of what came before in front of what is at hand, and keep the end of both.

        Args:
            x: (B, ...).
            axis: of time, counted with the batch.
            length: of the end.
            shape: of the end, but for the batch.

        Returns:
            The same, longer by ``length`` in time.
        """
        if not length:
            return x
        g, (past, part) = self.graph, self.take(*shape)
        joined = g.op("Concat", past, x, axis=axis)
        end = g.op("Slice", joined, g.ints(-length), g.ints(2**62), g.ints(axis))
        self.give(part, end)
        return joined

    def close(self) -> str:
        """Write the whole of the next state, (B, size)."""
        return self.graph.concat(self._next, axis=1)
