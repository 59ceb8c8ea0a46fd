"""Batches of a corpus in shards: which utterances, for which process, in which epoch, and their audio read in order.

lhotse's bucketing sampler draws from the cuts alone, which are small: what is in a batch follows from (seed, epoch,
number of processes), and a stream is taken up anywhere by going through the cuts again, without their audio. Its own
state would hold all cuts of its buffer, and lhotse's reader of Shar starts a shard anew, audio and all.

Each process has shards of its own, dealt anew in every epoch. All go through the cuts of all, so that they agree on the
number of batches: when the first has no more, the batches that are left are dealt out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset.sampling.dynamic_bucketing import DynamicBucketingSampler

from bigfoot.data.augment import stable_seed
from bigfoot.data.batch import CutSource, Position
from bigfoot.data.shards.ahead import OrderedAudio
from bigfoot.data.shards.parts import Part, address_of, deal, find_parts
from bigfoot.data.stream_settings import StreamPlan


class _Cuts:
    """Cuts of shards, one shard behind the other; what is gone through is expected to be read."""

    def __init__(self, parts: Sequence[Part], plan: StreamPlan, audio: OrderedAudio | None) -> None:
        self._parts, self._plan, self._audio = parts, plan, audio

    def __iter__(self) -> Iterator[Cut]:
        for part in self._parts:
            for cut in part.read():
                if self._audio is not None:
                    self._audio.expect(address_of(cut))
                yield self._plan.shorten(cut)


class ShardSampler:
    """Batches of one process, epoch after epoch.

    Args:
        manifest: of ``prepare_shards``.
        plan: how batches are drawn.
        rank: of this process.
        world_size: number of processes.
        start: position of the last batch that was consumed.
    """

    def __init__(self, manifest: Path, plan: StreamPlan, rank: int, world_size: int, start: Position) -> None:
        self._parts, self._plan = find_parts(manifest), plan
        self._rank, self._world_size, self._start = rank, world_size, start

    def __iter__(self) -> Iterator[tuple[Position, list[CutSource]]]:
        """Yield batches without end, with the content of their audio files."""
        epoch, skip = self._start.epoch, self._start.batch
        while True:
            audio = OrderedAudio()
            for number, row in enumerate(self._rows(epoch, audio), start=1):
                cuts = row[self._rank]
                if number <= skip:
                    for cut in cuts:
                        audio.drop(address_of(cut))
                    continue
                yield Position(epoch, number), [_load(cut, audio) for cut in cuts]
            audio.close()
            epoch, skip = epoch + 1, 0

    def _rows(self, epoch: int, audio: OrderedAudio) -> Iterator[list[list[Cut]]]:
        """Yield the batches of all processes, one for each at a time."""
        order = np.random.default_rng(stable_seed(self._plan.seed, "shards", epoch)).permutation(len(self._parts))
        dealt = deal(self._parts, [int(number) for number in order], self._world_size)
        # As generators: asked again behind its end, lhotse's sampler begins anew.
        streams = [
            (list(batch) for batch in self._sampler(parts, rank, epoch, audio if rank == self._rank else None))
            for rank, parts in enumerate(dealt)
        ]
        left: list[list[Cut]] = []
        while not left:
            left = [batch for stream in streams if (batch := next(stream, None)) is not None]
            if len(left) == len(streams):
                yield left
                left = []
            elif not left:
                return
        rest = [batch for batches in zip_longest(*streams) for batch in batches if batch is not None]
        yield from share_out([*left, *rest], self._world_size)

    def _sampler(
        self, parts: Sequence[Part], rank: int, epoch: int, audio: OrderedAudio | None
    ) -> DynamicBucketingSampler:
        sampler = self._plan.build_sampler(CutSet(_Cuts(parts, self._plan, audio)), ("order", rank))
        sampler.set_epoch(epoch)
        return sampler


def share_out(batches: Sequence[Sequence[Cut]], world_size: int) -> Iterator[list[list[Cut]]]:
    """Deal batches to processes; the last few, utterance by utterance, so that each has some.

    Args:
        batches: in their order.
        world_size: number of processes.

    Yields:
        A batch for each; where utterances are fewer than processes, one is given twice.

    Examples:
        >>> [list(map(len, row)) for row in share_out([["a"], ["b"], ["c", "d", "e"]], 2)]
        [[1, 1], [2, 1]]
    """
    whole = len(batches) // world_size * world_size
    for first in range(0, whole, world_size):
        yield [list(batch) for batch in batches[first : first + world_size]]
    if cuts := [cut for batch in batches[whole:] for cut in batch]:
        yield [cuts[rank::world_size] or [cuts[rank % len(cuts)]] for rank in range(world_size)]


def _load(cut: Cut, audio: OrderedAudio) -> CutSource:
    return replace(CutSource.of(cut), content=audio.take(address_of(cut)))
