"""Outputs of a model and of an exported file for the same utterances, alone and in batches, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from bigfoot.audio.pauses import LONGEST_PIECE
from bigfoot.data.batches import Batch, LoadedUtterance, collate
from bigfoot.export.exported import Exported
from bigfoot.formats.folder import LoadedModel
from bigfoot.progress import track
from bigfoot.text.tokenizer import Tokenizer
from bigfoot.types import Seconds

BATCH_SIZES = (2, 4, 8)
MOST_BATCH_SECONDS: Seconds = 2 * LONGEST_PIECE
"""Of a batch with its padding: two of the longest pieces there are."""


def collate_silent(items: Sequence[LoadedUtterance], loaded: LoadedModel) -> Batch:
    """Collate utterances into a batch without labels.

    Args:
        items: 1 or more.
        loaded: whose processor determines whether to normalize.
    """
    return collate(items, replace(loaded.processor, tokenizer=None))


@torch.no_grad()
def outputs_of_model(loaded: LoadedModel, item: LoadedUtterance) -> np.ndarray:
    """Compute the logits of a model for an utterance alone, (T, V).

    Args:
        loaded: with a CTC head.
        item: the utterance.
    """
    batch = collate_silent([item], loaded)
    output = loaded.model(batch.input_values, batch.attention_mask)
    return output.logits[0, : int(output.frame_mask.sum())].numpy()


class FileRunner:
    """Runs an exported file as a runtime does.

    Args:
        loaded: the model that it was written from.
        exported: the file.
    """

    def __init__(self, loaded: LoadedModel, exported: Exported) -> None:
        self._run, self._rate = exported.open(), loaded.processor.sample_rate
        inside = exported.facts["do_normalize"] == "inside"
        processor = replace(loaded.processor, tokenizer=None)
        self._processor = replace(processor, do_normalize=False) if inside else processor

    def run(self, items: Sequence[LoadedUtterance]) -> list[np.ndarray]:
        """Compute the logits (T, V) of each utterance, all in one batch.

        Args:
            items: 1 or more.
        """
        batch = collate(items, self._processor)
        logits, frames = self._run(batch.input_values.numpy(), batch.attention_mask.sum(-1).numpy())
        return [row[:count] for row, count in zip(logits, frames, strict=True)]

    def run_batches(self, items: Sequence[LoadedUtterance], size: int) -> list[np.ndarray]:
        """Compute the logits of each utterance, in batches of short and long ones together.

        Args:
            items: in order of their lengths.
            size: utterances of a batch; fewer where it would be longer than ``MOST_BATCH_SECONDS``.
        """
        found: dict[int, np.ndarray] = {}
        plan = plan_mixed([len(item.samples) for item in items], size, round(MOST_BATCH_SECONDS * self._rate))
        for rows in track(plan, f"running the file, {size} at a time", unit="batches"):
            found |= dict(zip(rows, self.run([items[row] for row in rows]), strict=True))
        return [found[row] for row in range(len(items))]


def plan_mixed(lengths: Sequence[int], size: int, most_samples: int) -> list[list[int]]:
    """Sort utterances into batches of very different lengths, where padding does most harm.

    Args:
        lengths: of the utterances in ascending order.
        size: utterances of a batch.
        most_samples: of a batch with its padding; two utterances share one nevertheless.

    Returns:
        Batches of positions in ``lengths``; every position once.

    Examples:
        >>> plan_mixed([1, 2, 3, 4, 5, 60], 3, 120)
        [[0, 2, 4], [1, 5], [3]]
    """
    strides = -(-len(lengths) // size)
    batches = []
    for first in range(strides):
        rows = list(range(first, len(lengths), strides))
        while rows:
            longest = rows.pop()
            others = max(2, most_samples // max(1, lengths[longest])) - 1
            batches.append([*rows[:others], longest])
            rows = rows[others:]
    return batches


def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest difference of a logit; infinity where the shapes differ.

    Args:
        ours: (T, V).
        theirs: the same.
    """
    if ours.shape != theirs.shape:
        return float("inf")
    return float(np.abs(ours - theirs).max()) if ours.size else 0.0


def decode_greedily(logits: np.ndarray, tokenizer: Tokenizer | None) -> str:
    """Decode an utterance's logits greedily.

    Args:
        logits: (T, V).
        tokenizer: None where there is no vocabulary.
    """
    best = logits.argmax(-1).tolist() if logits.size else []
    if tokenizer is not None:
        return tokenizer.decode_ctc(best)
    # Without a vocabulary a token's number is its word.
    return " ".join(str(token) for token, before in zip(best, [None, *best], strict=False) if token and token != before)
