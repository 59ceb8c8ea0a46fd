"""Audio on which an export is calibrated and judged."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch

from bigfoot.audio.files import read_audio
from bigfoot.audio.folders import find_audio
from bigfoot.data.batches import LoadedUtterance, collate, read_utterances
from bigfoot.errors import AudioError, DataError
from bigfoot.formats.conversion import make_speechlike_noise
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.text.tokenizers import Processor

log = logging.getLogger("bigfoot")

MOST_UTTERANCES = 64
_NOISE_SECONDS = (0.5, 2.0, 5.0, 9.0)


def read_speech(place: Path | None, processor: Processor, limit: int = MOST_UTTERANCES) -> list[LoadedUtterance]:
    """Read utterances.

    Args:
        place: a lhotse manifest (``.jsonl.gz``), a folder of audio or one file; None for noise with the spectrum and
            syllables of speech, which is enough to compare an fp32 file.
        processor: of the model, for its rate.
        limit: read no more; those of a folder in the order of their names.

    Returns:
        One or more, with transcripts where a manifest has them.

    Raises:
        DataError: nothing readable is there.
    """
    if place is None:
        noise = (make_speechlike_noise(seconds, seed) for seed, seconds in enumerate(_NOISE_SECONDS))
        return [LoadedUtterance(f"noise {index}", "", "", wave[0].numpy()) for index, wave in enumerate(noise)]
    if not place.exists():
        raise DataError(f"{place}: no manifest, folder or file of audio is there")
    if place.is_file() and ".jsonl" in place.suffixes:
        found = read_utterances(place, limit, processor.sample_rate, _leave_out)
    else:
        problems: list[AudioError] = []
        files = find_audio(place, problems) if place.is_dir() else [place]
        for error in problems:
            _leave_out(error)
        found = list(islice(_readable(files, processor), limit))
    if not found:
        raise DataError(f"{place}: no audio in it that can be read")
    return found


def _leave_out(error: AudioError) -> None:
    log.warning("%s; left out", error)


def _readable(files: Sequence[Path], processor: Processor) -> Iterator[LoadedUtterance]:
    for path in files:
        try:
            yield LoadedUtterance(str(path), "", "", read_audio(path, sample_rate=processor.sample_rate))
        except AudioError as error:
            _leave_out(error)


def padded_audio(utterances: Sequence[LoadedUtterance], processor: Processor) -> Iterator[PaddedAudio]:
    """The same as the model wants it, one by one.

    Args:
        utterances: of ``read_speech``.
        processor: of the model.
    """
    for item in utterances:
        batch = collate([item], Processor(do_normalize=processor.do_normalize))
        yield PaddedAudio(batch.input_values, torch.ones_like(batch.attention_mask))
