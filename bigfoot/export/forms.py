"""Forms of a graph: its inputs and outputs, and what a runtime needs between them and the model's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bigfoot.export.writer import GraphWriter

SAMPLES = "input_values"
_FLOAT, _INT64, _BOOL = 1, 7, 9
"""Element types of ONNX."""
_BELOW = 1.0
"""By how much a merged token's logit is below that of the token that stands for it."""
_BLANK_FRAME = 20.0
"""Logit of the blank above all others where there is no audio."""


@dataclass(frozen=True)
class GraphForm:
    """The form that ``bigfoot.runtime`` reads: samples and their lengths in, logits and frames out.

    Args:
        lengths: input with the real samples of each utterance; empty where every row is as long as the array.
        logits: output.
        standard: see ``GraphWriter``.
    """

    lengths: str = "lengths"
    logits: str = "logits"
    standard: bool = False

    def inputs(self) -> dict[str, tuple[int, list[str]]]:
        """Return element type and axes of the inputs by name."""
        lengths = {self.lengths: (_INT64, ["batch"])} if self.lengths else {}
        return {SAMPLES: (_FLOAT, ["batch", "samples"]), **lengths}

    def count_samples(self, g: GraphWriter) -> str:
        """Write the real samples of each utterance, (B,)."""
        if self.lengths:
            return self.lengths
        return g.op("Expand", g.size(SAMPLES, 1), g.size(SAMPLES, 0))

    def finish(self, g: GraphWriter, logits: str, mask: str) -> str:
        """Write what comes out, (B, T, V).

        Args:
            g: to write to.
            logits: (B, T, V) of the model.
            mask: (B, T, 1) of 0 and 1, the real frames.
        """
        return logits

    def expect(self, logits: np.ndarray) -> np.ndarray:
        """Compute what ``finish`` makes of an utterance.

        Args:
            logits: (T, V) of the model, on real frames.
        """
        return logits


OWN_FORM = GraphForm()


@dataclass(frozen=True)
class GreedyForm(GraphForm):
    """A form for runtimes that write the symbol of the best token, and read all frames that they are given.

    Args:
        size: V.
        blank: id of CTC's blank; the best token of every frame without audio.
        merged: sets of ids that are one token to a text, the one that is written first.
        log_probs: whether logarithms of probabilities come out.
    """

    size: int = 0
    blank: int = 0
    merged: Sequence[Sequence[int]] = ()
    log_probs: bool = False

    def finish(self, g: GraphWriter, logits: str, mask: str) -> str:
        """See ``GraphForm``."""
        for ids in self.merged:
            best = g.op("ReduceMax", g.op("Gather", logits, g.ints(*ids), axis=2), g.ints(2))
            others = g.op("Sub", best, g.constant(np.array(_BELOW)))
            logits = g.op("Where", g.constant(self._columns(ids[1:])), others, logits)
            logits = g.op("Where", g.constant(self._columns(ids[:1])), best, logits)
        if self.log_probs:
            logits = g.op("LogSoftmax", logits, axis=-1)
        silence = np.where(self._columns([self.blank]), 0.0, -_BLANK_FRAME)
        return g.op("Where", g.op("Cast", mask, to=_BOOL), logits, g.constant(silence))

    def expect(self, logits: np.ndarray) -> np.ndarray:
        """See ``GraphForm``."""
        logits = logits.copy()
        for ids in self.merged:
            best = logits[:, list(ids)].max(-1, keepdims=True)
            logits[:, list(ids[1:])] = best - _BELOW
            logits[:, ids[0]] = best[:, 0]
        if not self.log_probs:
            return logits
        shifted = logits - logits.max(-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))

    def _columns(self, ids: Sequence[int]) -> np.ndarray:
        """(V,) of whether it is one of these."""
        return np.isin(np.arange(self.size), ids)
