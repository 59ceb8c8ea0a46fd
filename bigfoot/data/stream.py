"""An endless stream of batches to train on, which can be taken up anywhere.

lhotse's bucketing sampler chooses what goes into a batch; torch's DataLoader reads it, in this process or in workers.
A batch carries its position in the stream, since workers run ahead of what was consumed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset.sampling.dynamic_bucketing import DynamicBucketingSampler, estimate_duration_buckets
from torch.utils.data import DataLoader, Dataset, Sampler

from bigfoot.data.augment import augment_waveform, stable_seed
from bigfoot.data.batch import ROOM_FIELD, Batch, CutSource, LoadedUtterance, Position, collate
from bigfoot.data.cuts import read_cuts
from bigfoot.data.noise import NoiseFolder
from bigfoot.data.settings import AugmentConfig, DataConfig
from bigfoot.errors import DataError
from bigfoot.text.tokenizers import Processor
from bigfoot.types import Seconds

# Enough cuts to estimate the distribution of lengths of any corpus.
_CUTS_FOR_BUCKETS = 10_000
_FIRST = Position()


def training_batches(
    manifest: str | Path,
    processor: Processor,
    config: DataConfig,
    seed: int,
    start: Position = _FIRST,
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
        rank: of this process among ``world_size``, which take turns in one stream: together they get what one process
            would, batch for batch, whatever their number; the last of an epoch may go with the first of the next.
        world_size: number of processes.

    Returns:
        An endless iterator.

    Raises:
        DataError: the manifest is missing or empty, or the folder of noise is.
        AudioError: while iterating, a file that cannot be read (any more).
    """
    sampler = _EndlessSampler(_build_sampler(Path(manifest), config, seed), start, rank, world_size)
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

    def __getitem__(self, chosen: tuple[Position, list[CutSource], Position]) -> Batch:
        position, sources, through = chosen
        batch = collate([self._load(source, position) for source in sources], self.processor, position)
        return replace(batch, through=through)

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

    def __init__(self, sampler: DynamicBucketingSampler, start: Position, rank: int, world_size: int) -> None:
        self._sampler = sampler
        self._start = start
        self._rank, self._world_size = rank, world_size

    def __iter__(self) -> Iterator[tuple[Position, list[CutSource], Position]]:
        stream = self._batches()
        while True:
            together = list(islice(stream, self._world_size))
            position, cuts = together[self._rank]
            yield position, [CutSource.of(cut) for cut in cuts], together[-1][0]

    def _batches(self) -> Iterator[tuple[Position, CutSet]]:
        epoch, skip = self._start.epoch, self._start.batch
        while True:
            self._sampler.set_epoch(epoch)
            for number, cuts in enumerate(islice(self._sampler, skip, None), start=skip + 1):
                yield Position(epoch, number), cuts
            epoch, skip = epoch + 1, 0


def _build_sampler(manifest: Path, config: DataConfig, seed: int) -> DynamicBucketingSampler:
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
        # Its own way of sharing depends on the number of processes: a run could not go on with another.
        rank=0,
        world_size=1,
    )


def _crop(cut: Cut, seconds: Seconds) -> Cut:
    """Shorten a cut to a stretch, whose place is drawn when it is read."""
    if cut.duration > seconds:
        cut.custom = {**(cut.custom or {}), ROOM_FIELD: cut.duration - seconds}
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
