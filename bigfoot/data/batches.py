"""Batches out of manifests: an endless stream to train on that can be taken up anywhere, and a plain list to evaluate.

lhotse's bucketing sampler chooses what goes into a batch; torch's DataLoader reads it, in this process or in workers.
A batch carries its position in the stream, since workers run ahead of what was consumed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset.sampling.dynamic_bucketing import DynamicBucketingSampler, estimate_duration_buckets
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from bigfoot.audio.files import read_audio
from bigfoot.audio.pauses import cut_at_pauses
from bigfoot.audio.recording import Moments, Recording, normalize_part
from bigfoot.data.augment import augment_waveform, stable_seed
from bigfoot.data.cuts import path_of, read_cuts
from bigfoot.data.manifests import LABELS_FIELD
from bigfoot.data.noise import NoiseFolder
from bigfoot.data.settings import AugmentConfig, DataConfig
from bigfoot.errors import AudioError, DataError
from bigfoot.progress import AUDIO, track
from bigfoot.text.tokenizer import Tokenizer
from bigfoot.text.tokenizers import Processor
from bigfoot.types import Samples, Seconds

LABEL_PADDING = -100
"""Stands behind the labels of shorter transcripts; losses pass over it."""

_ROOM_FIELD = "room"
"""Field of a cut that was shortened; see ``CutSource.room``."""

# Enough cuts to estimate the distribution of lengths of any corpus.
_CUTS_FOR_BUCKETS = 10_000


@dataclass(frozen=True, order=True)
class Position:
    """A position in the training stream.

    Args:
        epoch: 0 for the first pass over the manifest.
        batch: batches of this epoch that were consumed, the one it travels with included.
    """

    epoch: int = 0
    batch: int = 0


@dataclass
class Batch:
    """Utterances as a model takes them; B utterances, N samples of the longest, U labels of the longest.

    Args:
        input_values: (B, N) float32, normalised per utterance where the processor does so, 0 behind the end.
        attention_mask: (B, N) True on real samples.
        labels: (B, U) int64, U at least 1, ``LABEL_PADDING`` behind the end and all along where there is no transcript;
            None without a tokenizer.
        ids: B utterances by name.
        texts: B transcripts.
        speakers: B speakers.
        position: where in the stream; None in evaluation.
        decoder_labels: (B, U') int64, as ``labels``, of a decoder with tokens of its own; None where there is none.
        attributes: B utterances' labels of tasks, by name.
    """

    input_values: Tensor
    attention_mask: Tensor
    labels: Tensor | None
    ids: list[str]
    texts: list[str]
    speakers: list[str]
    position: Position | None = None
    decoder_labels: Tensor | None = None
    attributes: list[Mapping[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.ids)

    @property
    def input_lengths(self) -> Tensor:
        """(B,) real samples of every utterance."""
        return self.attention_mask.sum(dim=1)

    def seconds(self, sample_rate: int) -> Seconds:
        """Audio without padding."""
        return int(self.attention_mask.sum()) / sample_rate

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch with its tensors on a device."""
        return Batch(
            self.input_values.to(device),
            self.attention_mask.to(device),
            None if self.labels is None else self.labels.to(device),
            self.ids,
            self.texts,
            self.speakers,
            self.position,
            None if self.decoder_labels is None else self.decoder_labels.to(device),
            self.attributes,
        )


@dataclass(frozen=True)
class LoadedUtterance:
    """An utterance whose audio was read.

    Args:
        id: its name.
        speaker: who speaks.
        text: the normalized transcript.
        samples: (N,) at the processor's rate, not normalised.
        moments: what to normalise with where these are a piece of something longer.
        attributes: labels of tasks, by name.
    """

    id: str
    speaker: str
    text: str
    samples: Samples
    moments: Moments | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CutSource:
    """The part of a cut that is needed to read it: small, since it is sent to workers."""

    id: str
    speaker: str
    text: str
    path: str
    offset: Seconds
    duration: Seconds | None
    seconds: Seconds
    attributes: Mapping[str, str]
    room: Seconds = 0.0
    """How much later than at ``offset`` a stretch of it may start."""

    @classmethod
    def of(cls, cut: Cut) -> CutSource:
        """Take what is needed of a cut."""
        supervision = cut.supervisions[0]
        # Reading to the end finds a truncated file, a stretch that rounds to it would not always.
        whole = cut.start == 0 and abs(cut.duration - cut.recording.duration) < 1e-6
        return cls(
            id=cut.id,
            speaker=str(supervision.speaker),
            text=supervision.text or "",
            path=path_of(cut),
            offset=cut.start,
            duration=None if whole else cut.duration,
            seconds=cut.duration,
            attributes=(supervision.custom or {}).get(LABELS_FIELD, {}),
            room=(cut.custom or {}).get(_ROOM_FIELD, 0.0),
        )

    def load(self, sample_rate: int) -> LoadedUtterance:
        """Read it whole."""
        samples = read_audio(self.path, offset=self.offset, duration=self.duration, sample_rate=sample_rate)
        return LoadedUtterance(self.id, self.speaker, self.text, samples, attributes=self.attributes)

    def load_pieces(self, sample_rate: int, longest: Seconds | None) -> Iterator[LoadedUtterance]:
        """Yield longer cuts in pieces of one id, the first of which has the transcript."""
        if longest is None:
            yield self.load(sample_rate)
            return
        size = round(self.seconds * sample_rate)
        stretch = Recording(self.path, size, sample_rate, offset=self.offset, duration=self.duration)
        for piece in cut_at_pauses(stretch, longest=longest):
            text = "" if piece.index else self.text
            yield LoadedUtterance(self.id, self.speaker, text, piece.samples, piece.moments, self.attributes)


def collate(utterances: Sequence[LoadedUtterance], processor: Processor, position: Position | None = None) -> Batch:
    """Collate utterances into one batch.

    Args:
        utterances: B of them, 1 or more.
        processor: whether to normalise, and the tokenizer of the labels.
        position: to travel with the batch.

    Returns:
        The batch, in the order given.

    Raises:
        DataError: a transcript cannot be tokenized.

    Examples:
        >>> pair = [LoadedUtterance(name, "s", "A", np.ones(n, np.float32)) for name, n in (("a", 3), ("b", 2))]
        >>> collate(pair, Processor(do_normalize=False)).attention_mask.tolist()
        [[True, True, True], [True, True, False]]
    """
    longest = max(len(item.samples) for item in utterances)
    input_values = np.zeros((len(utterances), longest), dtype=np.float32)
    attention_mask = np.zeros((len(utterances), longest), dtype=np.bool_)
    for row, item in enumerate(utterances):
        length = len(item.samples)
        scaled = normalize_part(item.samples, item.moments) if processor.do_normalize else item.samples
        input_values[row, :length] = scaled
        attention_mask[row, :length] = True
    return Batch(
        input_values=torch.from_numpy(input_values),
        attention_mask=torch.from_numpy(attention_mask),
        labels=_pad_labels(utterances, processor.tokenizer),
        ids=[item.id for item in utterances],
        texts=[item.text for item in utterances],
        speakers=[item.speaker for item in utterances],
        position=position,
        # Who asks for no labels of the head asks for none at all.
        decoder_labels=_pad_labels(utterances, processor.decoder_tokenizer if processor.tokenizer else None),
        attributes=[item.attributes for item in utterances],
    )


def _pad_labels(utterances: Sequence[LoadedUtterance], tokenizer: Tokenizer | None) -> Tensor | None:
    if tokenizer is None:
        return None
    labels_by_row = []
    for item in utterances:
        try:
            labels_by_row.append(tokenizer.encode(item.text))
        except ValueError as error:
            raise DataError(f"{item.id}: {error}; prepare the data for this model's vocabulary") from error
    # At least one column: without any transcript, the losses fail on a tensor without elements.
    labels = torch.full((len(labels_by_row), max(1, *map(len, labels_by_row))), LABEL_PADDING, dtype=torch.int64)
    for row, ids in enumerate(labels_by_row):
        labels[row, : len(ids)] = torch.tensor(ids, dtype=torch.int64)
    return labels


def training_batches(
    manifest: str | Path,
    processor: Processor,
    config: DataConfig,
    seed: int,
    start: Position = Position(0, 0),
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Batch]:
    """Stream batches of similar lengths, epoch after epoch, without end.

    What is in the stream follows from the arguments alone: a stream started at the position of some batch gives,
    bit for bit, what follows that batch in a stream started at 0, with any number of workers. torch's global generator
    is not touched.

    A batch holds up to ``batch_seconds``, counted as lhotse does, number of utterances times the longest of them: with
    padding. The last utterance taken may be longer than those before, and playing slower (``augment.speed``) lengthens
    all; both by no more than the width of a bucket and the range of speeds.

    Args:
        manifest: of ``prepare_data``.
        processor: of the model.
        config: seconds in a batch, buckets, workers, augmentation.
        seed: of order and augmentation.
        start: first position; batches before it are skipped without reading audio.
        rank: of this process among ``world_size``. All get equally many batches, none the same utterance; only where an
            epoch's last utterances are fewer than processes does lhotse give one twice (``ID_dup0``).
        world_size: number of processes.

    Returns:
        An endless iterator.

    Raises:
        DataError: the manifest is missing or empty, or the folder of noise is.
        AudioError: while iterating, a file that cannot be read (any more).
    """
    sampler = _EndlessSampler(_build_sampler(Path(manifest), config, seed, rank, world_size), start)
    # Found here, before there are workers: all draw from one list.
    noise = NoiseFolder.find(config.augment.noise_folder) if config.augment.noise_folder else None
    with warnings.catch_warnings():
        # More workers than processors are the user's choice.
        warnings.filterwarnings("ignore", "This DataLoader will create")
        loader: DataLoader[Batch] = DataLoader(
            _BatchReader(processor, config.augment, noise, seed),
            sampler=sampler,
            batch_size=None,
            num_workers=config.num_workers,
            worker_init_fn=_calm_worker,
            # Without one the loader draws its workers' seeds from torch's global generator.
            generator=torch.Generator().manual_seed(stable_seed(seed, "workers")),
        )
        return iter(loader)


def _calm_worker(_worker: int) -> None:
    torch.set_num_threads(1)


@dataclass
class _BatchReader(Dataset[Batch]):
    """Turns what the sampler chose into a batch; lives in the workers."""

    processor: Processor
    augment: AugmentConfig
    noise: NoiseFolder | None
    seed: int

    def __getitem__(self, chosen: tuple[Position, list[CutSource]]) -> Batch:
        position, sources = chosen
        return collate([self._load(source, position) for source in sources], self.processor, position)

    def _load(self, source: CutSource, position: Position) -> LoadedUtterance:
        if source.room:
            place = np.random.default_rng(stable_seed(self.seed, "crop", position.epoch, position.batch, source.id))
            source = replace(source, offset=source.offset + place.uniform(0.0, source.room))
        item = source.load(self.processor.sample_rate)
        rng = np.random.default_rng(stable_seed(self.seed, position.epoch, position.batch, source.id))
        samples = augment_waveform(item.samples, self.augment, rng, self.noise)
        return replace(item, samples=samples)


class _EndlessSampler(Sampler[Any]):
    """lhotse's sampler over epochs without end; it runs in the main process, ahead of what was consumed."""

    def __init__(self, sampler: DynamicBucketingSampler, start: Position) -> None:
        self._sampler = sampler
        self._start = start

    def __iter__(self) -> Iterator[tuple[Position, list[CutSource]]]:
        epoch, skip = self._start.epoch, self._start.batch
        while True:
            self._sampler.set_epoch(epoch)
            for number, cuts in enumerate(islice(self._sampler, skip, None), start=skip + 1):
                yield Position(epoch, number), [CutSource.of(cut) for cut in cuts]
            epoch, skip = epoch + 1, 0


def _build_sampler(
    manifest: Path, config: DataConfig, seed: int, rank: int, world_size: int
) -> DynamicBucketingSampler:
    cuts = read_cuts(manifest)
    if config.crop_seconds is not None:
        cuts = cuts.map(partial(_crop, seconds=config.crop_seconds))
    return DynamicBucketingSampler(
        cuts,
        max_duration=config.batch_seconds,
        duration_bins=_duration_bins(manifest, cuts, config.num_buckets),
        shuffle=True,
        drop_last=False,
        # lhotse adds the epoch to the seed: from digests, no two seeds share an epoch's order.
        seed=stable_seed(seed, "order") % 2**31,
        # Unsynced, lhotse 1.33 takes an empty bucket for a full one and ends the epoch with utterances left over.
        # Synced, it goes through the buckets in an order that no seed changes; what they give still follows the seed.
        sync_buckets=True,
        rank=rank,
        world_size=world_size,
    )


def _crop(cut: Cut, seconds: Seconds) -> Cut:
    """Shorten a cut to a stretch, whose place is drawn when it is read."""
    if cut.duration > seconds:
        cut.custom = {**(cut.custom or {}), _ROOM_FIELD: cut.duration - seconds}
        cut.duration = seconds
    return cut


def _duration_bins(manifest: Path, cuts: CutSet, num_buckets: int) -> list[Seconds]:
    sample = list(islice(cuts, _CUTS_FOR_BUCKETS))
    if not sample:
        raise DataError(f"{manifest}: the manifest is empty; prepare the data again")
    num_buckets = min(num_buckets, len(sample))
    # lhotse refuses one bucket, and more buckets than cuts, and may find no edge between a few.
    bins = estimate_duration_buckets(sample, num_buckets) if num_buckets > 1 else []
    return [float(edge) for edge in bins] or [max(cut.duration for cut in sample) + 1.0]


def evaluation_order(manifest: str | Path) -> list[tuple[str, Seconds]]:
    """Names and lengths of a manifest's utterances, as ``evaluation_batches`` goes through them.

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
