"""Log posteriors of a recording, of the labels of its text alone; long recordings in chunks that overlap."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bigfoot.alignment.plan import ANY, TextPlan
from bigfoot.audio.chunking import Chunk, join_rows, plan_chunks
from bigfoot.audio.loudness import Decibels, LoudnessMeter
from bigfoot.audio.recording import Moments, Recording, cut_chunks, measure_moments, normalize_part
from bigfoot.decoding.alignment import chain_labels
from bigfoot.decoding.viterbi import Chain
from bigfoot.errors import ModelError
from bigfoot.runtime.batching import pad_batch
from bigfoot.runtime.engine import Engine
from bigfoot.runtime.lanes import map_in_lanes
from bigfoot.types import Samples, Seconds

Floats = npt.NDArray[np.float32]
OnProgress = Callable[[Seconds], None]

CHUNK, OVERLAP = 15.0, 3.0
"""Seconds of a chunk, and of what neighbours share. Attention grows with the square: chunks of 30 s take a third more,
and times are no nearer to espeak-ng's."""
ANY_COST = 0.3
"""Nats a frame by which a wildcard is less likely than the best token."""


class Columns:
    """Columns of the log posteriors that a text needs: its labels, the blank, a wildcard, and an open gap.

    A wildcard outputs any token, the blank too; an open gap is a blank that may be a wildcard as well.

    Args:
        plan: of the text.
        blank_id: of the model.

    Examples:
        >>> columns = Columns(TextPlan([], [2, ANY], frozenset([0]), [], "characters"), blank_id=0)
        >>> np.exp(columns.take(np.log([[0.1, 0.2, 0.1, 0.6]]))).astype(float).round(2).tolist()
        [[0.1, 0.1, 0.44, 0.44]]
        >>> columns.chain().columns.tolist()
        [3, 1, 0, 2, 0]
    """

    def __init__(self, plan: TextPlan, blank_id: int) -> None:
        self._plan = plan
        self._ids = [blank_id, *sorted({label for label in plan.labels if label != ANY})]
        self._any, self._gap = len(self._ids), len(self._ids) + 1

    def take(self, logits: npt.NDArray[np.floating]) -> Floats:
        """Compute the columns.

        Args:
            logits: (T, V), of any scale.

        Returns:
            (T, C) log posteriors in nats.
        """
        scores = np.asarray(logits, dtype=np.float64)
        log_probs = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
        best = log_probs.max(axis=1, initial=-np.inf) - ANY_COST
        gap = np.maximum(best, log_probs[:, self._ids[0]])
        return np.column_stack([log_probs[:, self._ids], best, gap]).astype(np.float32)

    def chain(self) -> Chain:
        """States of the text over these columns: label ``n`` is state ``2 * n + 1``, the gap before it ``2 * n``."""
        places = {label: column for column, label in enumerate(self._ids)} | {ANY: self._any}
        chain = chain_labels([places[label] for label in self._plan.labels], 0)
        chain.columns[[2 * gap for gap in self._plan.open_gaps]] = self._gap
        return chain

    def is_filled(self, log_probs: Floats) -> npt.NDArray[np.bool_]:
        """Return (T,) whether an open gap outputs a token there, and no blank."""
        return log_probs[:, self._gap] > log_probs[:, 0]


@dataclass(frozen=True)
class Emissions:
    """A recording as the alignment needs it.

    Args:
        log_probs: (T, C), see ``Columns``.
        seconds: length of the recording.
        loudness: of its steps.
    """

    log_probs: Floats
    seconds: Seconds
    loudness: Decibels


@contextmanager
def compute_emissions(
    engine: Engine, recording: Recording, columns: Columns, report: OnProgress, *, alone: bool = True
) -> Iterator[Emissions]:
    """Compute a recording, an hour in the memory of a minute: what is computed goes to a temporary file.

    Args:
        engine: the model.
        recording: to compute.
        columns: that are kept.
        report: called with the seconds of audio just computed.
        alone: no other recording is computed at the same time.

    Yields:
        What was computed; gone afterwards.

    Raises:
        AudioError: the recording cannot be read.
        ModelError: the model fails.
    """
    facts, meter = engine.facts, LoudnessMeter(recording.sample_rate)
    moments = measure_moments(meter.tap(recording.blocks()))
    longest = min(round(CHUNK * facts.sample_rate), facts.longest or sys.maxsize)
    chunks = plan_chunks(moments.num_samples, facts.stride, longest, round(OVERLAP * facts.sample_rate))
    with tempfile.TemporaryFile(prefix="bigfoot-") as file:
        width = 0
        for rows in join_rows(_compute_chunks(engine, recording, columns, chunks, moments, report, alone)):
            file.write(np.ascontiguousarray(rows).data)
            width = rows.shape[1]
        file.flush()
        frames = file.tell() // (4 * width)
        log_probs = np.zeros((0, width), np.float32)
        if frames:
            log_probs = np.memmap(file, dtype=np.float32, mode="r", shape=(frames, width))
        yield Emissions(log_probs, moments.num_samples / facts.sample_rate, meter.decibels())


def _compute_chunks(
    engine: Engine, recording: Recording, columns: Columns, chunks: Sequence[Chunk], moments: Moments,
    report: OnProgress, alone: bool,
) -> Iterator[tuple[int, npt.NDArray[np.int64], Floats]]:  # fmt: skip
    """First frame, best tokens and columns of each chunk, some chunks at a time."""
    facts, lanes = engine.facts, engine.lanes if alone and len(chunks) > 1 else 1

    def compute(given: tuple[Chunk, Samples]) -> tuple[int, npt.NDArray[np.int64], Floats]:
        chunk, wave = given
        if len(wave) < facts.receptive_field:
            logits = np.zeros((0, len(facts.tokenizer)), np.float32)
        else:
            wave = normalize_part(wave, moments) if facts.normalizes else wave
            output = engine.run(*pad_batch([wave]), alone=alone and lanes == 1)
            logits = output.logits[0, : output.frames[0]]
        if not np.isfinite(logits).all():
            raise ModelError(f"{facts.name}: gives logits that are no numbers; its weights are damaged")
        return chunk.start_frame, logits.argmax(axis=-1), columns.take(logits)

    waves = zip(chunks, cut_chunks(recording.blocks(), chunks), strict=True)
    end = 0
    for chunk, found in zip(chunks, map_in_lanes(compute, waves, lanes), strict=True):
        yield found
        report((chunk.end - end) / facts.sample_rate)
        end = chunk.end
