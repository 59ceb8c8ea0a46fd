"""How batches are drawn from the cuts of a manifest: buckets of similar lengths, budgeted in seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset.sampling.dynamic_bucketing import DynamicBucketingSampler, estimate_duration_buckets

from bigfoot.data.augment import stable_seed
from bigfoot.data.batch import ROOM_FIELD, CutSource
from bigfoot.data.cuts import is_in_shards, path_of, read_cuts
from bigfoot.data.settings import DataConfig
from bigfoot.data.shards.address import parse_address
from bigfoot.data.shards.ahead import OrderedAudio
from bigfoot.errors import DataError
from bigfoot.types import Seconds

# Enough cuts to estimate the distribution of lengths of any corpus.
_CUTS_FOR_BUCKETS = 10_000
_LHOTSE_BUFFER = 20_000


@dataclass(frozen=True)
class Drawn:
    """A batch that was drawn, before its audio is read.

    Args:
        cuts: of it.
        audio: of shards, which expects the cuts; None for files.
    """

    cuts: list[Cut]
    audio: OrderedAudio | None = None

    def load(self) -> list[CutSource]:
        """Return what is needed to read it; of shards, the content of its audio files too."""
        sources = [CutSource.of(cut) for cut in self.cuts]
        if self.audio is None:
            return sources
        return [replace(source, content=self.audio.take(parse_address(source.path))) for source in sources]

    def leave(self) -> None:
        """Note that its audio will not be read."""
        for cut in self.cuts if self.audio is not None else ():
            self.audio.drop(parse_address(path_of(cut)))  # type: ignore[union-attr]


@dataclass(frozen=True)
class StreamPlan:
    """How batches are drawn.

    Args:
        config: seconds in a batch, crops, workers.
        seed: of the order.
        duration_bins: edges of the buckets, seconds.
        buffer_size: cuts among which a batch is drawn.
    """

    config: DataConfig
    seed: int
    duration_bins: list[Seconds]
    buffer_size: int

    @classmethod
    def of(cls, config: DataConfig, manifest: Path, seed: int) -> StreamPlan:
        """Estimate the buckets from the first cuts of a manifest.

        Args:
            config: of the data.
            manifest: of ``prepare_data``.
            seed: of the order.

        Raises:
            DataError: the manifest is missing or empty.
        """
        buffer_size = config.shard_buffer if is_in_shards(manifest) else _LHOTSE_BUFFER
        plan = cls(config, seed, [], buffer_size)
        sample = [plan.shorten(cut) for cut in islice(read_cuts(manifest), _CUTS_FOR_BUCKETS)]
        if not sample:
            raise DataError(f"{manifest}: the manifest is empty; prepare the data again")
        return cls(config, seed, _find_bins(sample, config.num_buckets), buffer_size)

    def shorten(self, cut: Cut) -> Cut:
        """Shorten a cut to ``crop_seconds``, where those are set; its place is drawn when it is read."""
        seconds = self.config.crop_seconds
        if seconds is not None and cut.duration > seconds:
            cut.custom = {**(cut.custom or {}), ROOM_FIELD: cut.duration - seconds}
            cut.duration = seconds
        return cut

    def draw(self, cuts: CutSet, *key: int, lanes: int = 1) -> Callable[[int], Iterator[Drawn]]:
        """Return what draws the batches of an epoch by lhotse's sampler.

        Args:
            cuts: lazily.
            key: of their order, beside the seed.
            lanes: samplers that share the buffer.
        """
        sampler = DynamicBucketingSampler(
            cuts,
            max_duration=self.config.known_batch_seconds,
            duration_bins=self.duration_bins,
            shuffle=True,
            drop_last=False,
            buffer_size=-(-self.buffer_size // lanes),
            # lhotse adds the epoch to the seed: from digests, no two seeds share an epoch's order.
            seed=stable_seed(self.seed, "order", *key) % 2**31,
            # Unsynced, lhotse 1.33 takes an empty bucket for a full one and ends the epoch with utterances left over.
            # Synced, it goes through the buckets in an order that no seed changes; what they give still follows the
            # seed.
            sync_buckets=True,
            # Its own way of sharing depends on the number of processes: a run could not go on with another.
            rank=0,
            world_size=1,
        )

        def draw(epoch: int) -> Iterator[Drawn]:
            sampler.set_epoch(epoch)
            # A generator ends once; lhotse's sampler, asked again behind its end, begins anew.
            for batch in sampler:
                yield Drawn(list(batch))

        return draw


def _find_bins(sample: list[Cut], num_buckets: int) -> list[Seconds]:
    num_buckets = min(num_buckets, len(sample))
    # lhotse refuses one bucket, and more buckets than cuts, and may find no edge between a few.
    bins = estimate_duration_buckets(sample, num_buckets) if num_buckets > 1 else []
    return [float(edge) for edge in bins] or [max(cut.duration for cut in sample) + 1.0]
