"""Batches of a corpus in shards: which utterances, in which order, and their audio read shard by shard.

lhotse's bucketing sampler draws from the cuts alone, which are small: what is in the stream follows from seed and
epoch, and it is taken up anywhere by going through the cuts again, without their audio. The sampler's own state would
hold all cuts of its buffer, and lhotse's reader of Shar starts a shard anew, audio and all.

Shards are dealt, anew in every epoch, to lanes that take turns: a batch of the first, one of the second, and so on. The
stream is the same for any number of processes. Where that number divides the lanes, a process has lanes, and so shards,
of its own: it reads no others but at the end of an epoch, when some lanes have no more (the canonical nodes of
MosaicML's Streaming).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
from lhotse import CutSet
from lhotse.cut import Cut

from bigfoot.data.augment import stable_seed
from bigfoot.data.cuts import path_of
from bigfoot.data.drawing import Drawn, StreamPlan
from bigfoot.data.shards.address import parse_address
from bigfoot.data.shards.ahead import OrderedAudio
from bigfoot.data.shards.parts import Part, deal, find_parts


class _Cuts:
    """Cuts of shards, one shard behind the other; what is gone through is expected to be read."""

    def __init__(self, parts: Sequence[Part], plan: StreamPlan, audio: OrderedAudio) -> None:
        self._parts, self._plan, self._audio = parts, plan, audio

    def __iter__(self) -> Iterator[Cut]:
        for part in self._parts:
            for cut in part.read():
                self._audio.expect(parse_address(path_of(cut)))
                yield self._plan.shorten(cut)


def draw_from_shards(manifest: Path, plan: StreamPlan) -> Callable[[int], Iterator[Drawn]]:
    """Return what draws the batches of an epoch.

    Args:
        manifest: of ``prepare_shards``.
        plan: how batches are drawn.

    Raises:
        DataError: the manifest is damaged.
    """
    parts, lanes = find_parts(manifest), plan.config.shard_lanes

    def draw(epoch: int) -> Iterator[Drawn]:
        audio = OrderedAudio()
        order = np.random.default_rng(stable_seed(plan.seed, "shards", epoch)).permutation(len(parts))
        dealt = deal(parts, [int(number) for number in order], lanes)
        streams = [
            plan.draw(CutSet(_Cuts(lane, plan, audio)), number, lanes=lanes)(epoch)
            for number, lane in enumerate(dealt) if lane
        ]  # fmt: skip
        for row in zip_longest(*streams):
            for drawn in row:
                if drawn is not None:
                    yield replace(drawn, audio=audio)

    return draw
