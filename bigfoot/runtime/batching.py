"""Which utterances are computed together: those of nearly one length, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bigfoot.types import Samples

SHORTEST_SHARE = 0.9
"""Of a batch's longest utterance: what is shorter waits, so that no batch is padding by more than the rest."""


def plan_batches(lengths: Sequence[int], most_samples: int) -> list[list[int]]:
    """Sort utterances into batches.

    Args:
        lengths: samples of each utterance, 1 or more.
        most_samples: of a batch with its padding; an utterance that is longer makes a batch of its own.

    Returns:
        Batches of positions in ``lengths``, the longest first; every position once.

    Examples:
        >>> plan_batches([100, 10, 95, 97, 9], 250)
        [[0, 3], [2], [1, 4]]
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        longest = lengths[batches[-1][0]] if batches else 0
        fits = batches and (len(batches[-1]) + 1) * longest <= most_samples
        if fits and lengths[index] >= SHORTEST_SHARE * longest:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def pad_batch(waves: Sequence[Samples]) -> tuple[Samples, npt.NDArray[np.int64]]:
    """Put utterances into one array.

    Args:
        waves: (N,) each.

    Returns:
        (B, N) with zeros behind the end, and (B,) real samples.

    Examples:
        >>> pad_batch([np.ones(3, np.float32), np.ones(2, np.float32)])[0].tolist()
        [[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]
    """
    lengths = np.array([len(wave) for wave in waves], dtype=np.int64)
    values = np.zeros((len(waves), int(lengths.max())), dtype=np.float32)
    for row, wave in enumerate(waves):
        values[row, : len(wave)] = wave
    return values, lengths
