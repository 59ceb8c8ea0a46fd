"""Audio of the search: grouped, and some of it held out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from bigfoot.compress.audio import Waveforms, one_by_one
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.types import SAMPLE_RATE, Seconds

HELD_OUT = 5
"""Every so manieth utterance is held out."""


@dataclass(frozen=True)
class Split:
    """Audio to fit on and audio to measure on.

    Args:
        fit: batches on which linear maps are fitted.
        held: batches on which the search measures errors; those of ``fit`` where there is one utterance alone.
    """

    fit: Sequence[PaddedAudio]
    held: Sequence[PaddedAudio]


def split_audio(batches: Iterable[Waveforms]) -> Split:
    """Hold every fifth utterance out, and group the others.

    Args:
        batches: of any size.

    Examples:
        >>> noise = [PaddedAudio(torch.randn(6, 8000), torch.ones(6, 8000, dtype=torch.bool))]
        >>> split = split_audio(noise)
        >>> [len(batch.input_values) for batch in (*split.fit, *split.held)]
        [5, 1]
    """
    utterances = list(one_by_one(batches))
    held = utterances[HELD_OUT - 1 :: HELD_OUT] or utterances[1:2] or utterances
    fit = [each for each in utterances if not any(each is other for other in held)] or utterances
    return Split(group_audio(fit), group_audio(held))


def group_audio(utterances: Sequence[PaddedAudio], seconds: Seconds = 15.0) -> list[PaddedAudio]:
    """Pad utterances of like length into batches.

    Args:
        utterances: one row each, without padding.
        seconds: of a batch, padding included.
    """
    batches: list[list[PaddedAudio]] = []
    for each in sorted(utterances, key=lambda utterance: utterance.input_values.shape[1]):
        size = each.input_values.shape[1]
        if not batches or (len(batches[-1]) + 1) * size > seconds * SAMPLE_RATE:
            batches.append([])
        batches[-1].append(each)
    return [_pad(batch) for batch in batches]


def _pad(rows: Sequence[PaddedAudio]) -> PaddedAudio:
    most = max(row.input_values.shape[1] for row in rows)
    values = [nn.functional.pad(row.input_values, (0, most - row.input_values.shape[1])) for row in rows]
    masks = [nn.functional.pad(row.attention_mask, (0, most - row.attention_mask.shape[1])) for row in rows]
    return PaddedAudio(torch.cat(values), torch.cat(masks))
