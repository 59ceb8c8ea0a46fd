"""A few utterances of a manifest, evenly over the range of lengths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from bigfoot.data.batches import Batch, CutSource, collate, longest_first
from bigfoot.text.tokenizers import Processor
from bigfoot.types import Seconds

Item = TypeVar("Item")


def read_spread(manifest: str | Path, processor: Processor, limit: int, longest: Seconds) -> list[Batch]:
    """Read utterances of very different lengths, long and short alternating; no audio of others is read.

    Args:
        manifest: of ``prepare_data``.
        processor: of the model.
        limit: most utterances.
        longest: longer recordings come in pieces cut at pauses, each of which counts as an utterance.

    Returns:
        A batch an utterance.

    Raises:
        DataError: the manifest is missing.
        AudioError: a file cannot be read.
    """
    sources = [CutSource.of(cut) for cut in longest_first(manifest)]
    # How many pieces there are, only the audio could say: so many at the least.
    pieces = [(source, index) for source in sources for index in range(max(1, math.ceil(source.seconds / longest)))]
    found = [_read_piece(source, index, processor, longest) for source, index in alternate(choose(pieces, limit))]
    return [batch for batch in found if batch is not None]


def choose(ordered: Sequence[Item], limit: int) -> list[Item]:
    """Choose evenly, first and last among them.

    Examples:
        >>> choose(range(10), 4)
        [0, 3, 6, 9]
    """
    count = min(limit, len(ordered))
    return [ordered[round(i * (len(ordered) - 1) / max(1, count - 1))] for i in range(count)]


def alternate(ordered: Sequence[Item]) -> list[Item]:
    """Take one from the front and one from the back in turn.

    Examples:
        >>> alternate([1, 2, 3, 4, 5])
        [1, 5, 2, 4, 3]
    """
    half = (len(ordered) + 1) // 2
    mixed = list(ordered)
    mixed[::2], mixed[1::2] = ordered[:half], list(reversed(ordered[half:]))
    return mixed


def _read_piece(source: CutSource, index: int, processor: Processor, longest: Seconds) -> Batch | None:
    piece = next(islice(source.load_pieces(processor.sample_rate, longest), index, None), None)
    return None if piece is None else collate([piece], processor)
