"""An endless stream of batches to train on, which can be taken up anywhere.

lhotse's bucketing sampler chooses what goes into a batch; torch's DataLoader reads it, in this process or in workers.
A batch carries its position in the stream, since workers run ahead of what was consumed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from bigfoot.data.augment import augment_waveform, stable_seed
from bigfoot.data.batch import Batch, CutSource, LoadedUtterance, Position, collate
from bigfoot.data.cuts import is_in_shards, read_cuts
from bigfoot.data.drawing import Drawn, StreamPlan
from bigfoot.data.noise import NoiseFolder
from bigfoot.data.settings import AugmentConfig, DataConfig
from bigfoot.data.shards.ahead import run_ahead
from bigfoot.data.shards.sampling import draw_from_shards
from bigfoot.text.tokenizers import Processor

_FIRST = Position()
DrawMasks = Callable[[Batch], Mapping[str, Tensor]]


def training_batches(
    manifest: str | Path,
    processor: Processor,
    config: DataConfig,
    seed: int,
    start: Position = _FIRST,
    rank: int = 0,
    world_size: int = 1,
    draw_masks: DrawMasks | None = None,
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
        config: seconds in a batch, buckets, workers (``auto`` is none), augmentation.
        seed: of order and augmentation.
        start: first position; batches before it are skipped without reading audio.
        rank: of this process among ``world_size``, which take turns in one stream: together they get what one process
            would, batch for batch, whatever their number; the last of an epoch may go with the first of the next.
        world_size: number of processes.
        draw_masks: draws, from a batch alone, the masks that travel with it; where there are workers, in these.

    Returns:
        An endless iterator.

    Raises:
        DataError: the manifest is missing or empty, or the folder of noise is.
        AudioError: while iterating, a file that cannot be read (any more).
    """
    workers = 0 if isinstance(config.num_workers, str) else config.num_workers
    config = replace(config, num_workers=workers)
    sampler = _EndlessSampler(Path(manifest), StreamPlan.of(config, Path(manifest), seed), start, rank, world_size)
    # Found here, before there are workers: all draw from one list.
    noise = NoiseFolder.find(config.augment.noise_folder) if config.augment.noise_folder else None
    with warnings.catch_warnings():
        # More workers than processors are the user's choice.
        warnings.filterwarnings("ignore", "This DataLoader will create")
        loader: DataLoader[Batch] = DataLoader(
            _BatchReader(processor, config.augment, noise, seed, draw_masks),
            sampler=sampler,
            batch_size=None,
            num_workers=workers,
            worker_init_fn=_calm_worker,
            pin_memory=torch.cuda.is_available(),
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
    draw_masks: DrawMasks | None

    def __getitem__(self, chosen: tuple[Position, list[CutSource], Position]) -> Batch:
        position, sources, through = chosen
        batch = collate([self._load(source, position) for source in sources], self.processor, position)
        return replace(batch, through=through, masks=None if self.draw_masks is None else self.draw_masks(batch))

    def _load(self, source: CutSource, position: Position) -> LoadedUtterance:
        if source.room:
            place = np.random.default_rng(stable_seed(self.seed, "crop", position.epoch, position.batch, source.id))
            source = replace(source, offset=source.offset + place.uniform(0.0, source.room))
        item = source.load(self.processor.sample_rate)
        rng = np.random.default_rng(stable_seed(self.seed, position.epoch, position.batch, source.id))
        samples = augment_waveform(item.samples, self.augment, rng, self.noise)
        return replace(item, samples=samples, sample_rate=item.sample_rate * len(samples) / max(1, len(item.samples)))


class _EndlessSampler(Sampler[Any]):
    """Batches of this process over epochs without end; it runs in the main process, ahead of what was consumed."""

    def __init__(self, manifest: Path, plan: StreamPlan, start: Position, rank: int, world_size: int) -> None:
        self._start, self._rank, self._world_size = start, rank, world_size
        if is_in_shards(manifest):
            self._draw: Callable[[int], Iterator[Drawn]] = draw_from_shards(manifest, plan)
            # Reading them waits, where there are workers to keep busy.
            workers = plan.config.num_workers
            self._depth = 0 if isinstance(workers, str) else 2 * workers
        else:
            cuts = read_cuts(manifest)
            self._draw = plan.draw(cuts if plan.config.crop_seconds is None else cuts.map(plan.shorten))
            self._depth = 0

    def __iter__(self) -> Iterator[tuple[Position, list[CutSource], Position]]:
        # Workers are forked before the first batch is asked for, and so before there is a thread.
        return run_ahead(self._take_turns(), self._depth) if self._depth else self._take_turns()

    def _take_turns(self) -> Iterator[tuple[Position, list[CutSource], Position]]:
        stream = self._batches()
        while True:
            together = list(islice(stream, self._world_size))
            for rank, (_, others) in enumerate(together):
                if rank != self._rank:
                    others.leave()
            position, drawn = together[self._rank]
            yield position, drawn.load(), together[-1][0]

    def _batches(self) -> Iterator[tuple[Position, Drawn]]:
        epoch, skip = self._start.epoch, self._start.batch
        while True:
            for number, drawn in enumerate(self._draw(epoch), start=1):
                if number <= skip:
                    drawn.leave()
                else:
                    yield Position(epoch, number), drawn
            epoch, skip = epoch + 1, 0
