"""Batches out of manifests: a plain list to evaluate, and samples; those of ``batch`` and ``stream`` are here, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from lhotse.cut import Cut

from bigfoot.data.batch import LABEL_PADDING, Batch, CutSource, LoadedUtterance, Position, collate
from bigfoot.data.cuts import read_cuts
from bigfoot.data.stream import training_batches
from bigfoot.errors import AudioError, DataError
from bigfoot.progress import AUDIO, track
from bigfoot.text.tokenizers import Processor
from bigfoot.types import Seconds

__all__ = [
    "LABEL_PADDING", "Batch", "CutSource", "LoadedUtterance", "Position", "collate", "evaluation_batches",
    "evaluation_order", "iterate_utterances", "longest_first", "read_lengths", "read_transcripts", "read_utterances",
    "sample_batches", "training_batches",
]  # fmt: skip


def evaluation_order(manifest: str | Path) -> list[tuple[str, Seconds]]:
    """Return the names and lengths of a manifest's utterances, as ``evaluation_batches`` goes through them.

    Args:
        manifest: of ``prepare_data``.

    Raises:
        DataError: the manifest is missing.
    """
    return [(cut.id, cut.duration) for cut in longest_first(manifest)]


def evaluation_batches(
    manifest: str | Path,
    processor: Processor,
    batch_size: int,
    skip: int = 0,
    longest: Seconds | None = None,
    doing: str | None = None,
) -> Iterator[Batch]:
    """Read a manifest once, longest utterances first, as they are.

    Args:
        manifest: of ``prepare_data``.
        processor: of the model.
        batch_size: utterances in a batch, the last may have fewer.
        skip: utterances to leave out at the start.
        longest: what has more seconds comes in pieces, cut at its pauses, one behind the other under one id, the first
            with the transcript; ``bigfoot.decoding.greedy.join_pieces`` joins their hypotheses.
        doing: what is done with them, such as ``evaluating test``: progress is shown under these words.

    Yields:
        Batches without position; ties in length are ordered by id.

    Raises:
        DataError: the manifest is missing.
        AudioError: a file cannot be read.
    """
    sources = [CutSource.of(cut) for cut in longest_first(manifest)[skip:]]
    utterances = (utterance for source in sources for utterance in source.load_pieces(processor.sample_rate, longest))
    batches = _collated(utterances, processor, batch_size)
    if doing is None:
        yield from batches
        return
    total = sum(source.seconds for source in sources)
    yield from track(batches, doing, total, AUDIO, lambda batch: batch.seconds(processor.sample_rate))


def _collated(utterances: Iterator[LoadedUtterance], processor: Processor, batch_size: int) -> Iterator[Batch]:
    while chosen := list(islice(utterances, batch_size)):
        yield collate(chosen, processor)


def read_utterances(
    manifest: str | Path,
    limit: int | None = None,
    sample_rate: int = 16_000,
    on_error: Callable[[AudioError], None] | None = None,
) -> list[LoadedUtterance]:
    """Read the first utterances of a manifest, in its order.

    Args:
        manifest: of ``prepare_data``.
        limit: how many; all by default.
        sample_rate: of the result in Hz.
        on_error: takes the error of a file that cannot be read, which then is left out; without it that is an error.

    Returns:
        The utterances with their audio, not normalised.

    Raises:
        DataError: the manifest is missing.
        AudioError: a file cannot be read, and there is no ``on_error``.
    """
    return list(islice(iterate_utterances(manifest, sample_rate, on_error=on_error), limit))


def iterate_utterances(
    manifest: str | Path,
    sample_rate: int = 16_000,
    longest: Seconds | None = None,
    on_error: Callable[[AudioError], None] | None = None,
) -> Iterator[LoadedUtterance]:
    """Read the utterances of a manifest one by one, in its order.

    Args:
        manifest: of ``prepare_data``.
        sample_rate: of the result in Hz.
        longest: see ``evaluation_batches``.
        on_error: see ``read_utterances``.

    Yields:
        The utterances with their audio, not normalised.

    Raises:
        DataError: the manifest is missing.
        AudioError: a file cannot be read, and there is no ``on_error``.
    """
    for cut in read_cuts(manifest):
        try:
            yield from CutSource.of(cut).load_pieces(sample_rate, longest)
        except AudioError as error:
            if on_error is None:
                raise
            on_error(error)


def sample_batches(
    manifest: str | Path, processor: Processor, seconds: Seconds, batch_seconds: Seconds, *, labels: bool = False
) -> list[Batch]:
    """Read the first utterances of a manifest, up to so many seconds, as batches without augmentation.

    Args:
        manifest: of ``prepare_data``; train is in shuffled order, so its first utterances are a sample of it.
        processor: of the model.
        seconds: of audio in all, at least one utterance.
        batch_seconds: of audio in a batch, padding not counted.
        labels: tokenize the transcripts too, where there is a vocabulary.

    Returns:
        One batch or more.

    Raises:
        DataError: the manifest is missing or empty, or a transcript cannot be tokenized.
        AudioError: a file cannot be read.
    """
    batches: list[list[LoadedUtterance]] = [[]]
    left, room = seconds, batch_seconds
    for cut in read_cuts(manifest):
        if batches[-1] and cut.duration > room:
            batches.append([])
            room = batch_seconds
        batches[-1].append(CutSource.of(cut).load(processor.sample_rate))
        left, room = left - cut.duration, room - cut.duration
        if left <= 0:
            break
    if not batches[0]:
        raise DataError(f"{manifest}: the manifest is empty; prepare the data again")
    used = processor if labels else replace(processor, tokenizer=None)
    return [collate(utterances, used) for utterances in batches]


def longest_first(manifest: str | Path) -> list[Cut]:
    """Sort by length, longest first, so that a batch too big for the memory shows at once; ties by id."""
    return _read_cuts(manifest, key=lambda cut: (-cut.duration, cut.id))


def _read_cuts(manifest: str | Path, key: Callable[[Cut], Any]) -> list[Cut]:
    return sorted(read_cuts(manifest), key=key)


def read_lengths(manifest: str | Path) -> list[tuple[str, str, Seconds]]:
    """Read name, transcript and length of a manifest's utterances without their audio.

    Args:
        manifest: of ``prepare_data``.

    Raises:
        DataError: the manifest is missing.
    """
    return [(cut.id, cut.supervisions[0].text or "", cut.duration) for cut in read_cuts(manifest)]


def read_transcripts(manifest: str | Path) -> list[str]:
    """Read the transcripts of a manifest without its audio.

    Args:
        manifest: of ``prepare_data``.

    Returns:
        One text an utterance, in the manifest's order.

    Raises:
        DataError: the manifest is missing.
    """
    return [cut.supervisions[0].text or "" for cut in read_cuts(manifest)]
