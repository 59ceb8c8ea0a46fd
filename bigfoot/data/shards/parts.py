"""A manifest of shards, part by part: where in its file the cuts of each shard lie."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lhotse.cut import Cut
from lhotse.serialization import deserialize_item

from bigfoot.errors import DataError

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Part:
    """The cuts of a shard in a manifest.

    Args:
        manifest: its path.
        start: first byte of its gzip member.
        end: behind its last.
        count: of cuts.
    """

    manifest: Path
    start: int
    end: int
    count: int

    def read(self) -> Iterator[Cut]:
        """Yield the cuts in their order."""
        with self.manifest.open("rb") as file:
            file.seek(self.start)
            content = zlib.decompress(file.read(self.end - self.start), wbits=31)
        yield from (deserialize_item(json.loads(line)) for line in content.splitlines())


def find_parts(manifest: Path) -> list[Part]:
    """List the gzip members of a manifest, which are read through once, without parsing the cuts.

    Args:
        manifest: of ``write_shard_manifest``.

    Raises:
        DataError: it is damaged.
    """
    parts, start, place = list[Part](), 0, 0
    member, count = zlib.decompressobj(wbits=31), 0
    try:
        with manifest.open("rb") as file:
            while block := file.read(_BLOCK):
                while block:
                    count += member.decompress(block).count(b"\n")
                    place += len(block) - len(member.unused_data)
                    block = member.unused_data
                    if member.eof:
                        parts.append(Part(manifest, start, place, count))
                        member, count, start = zlib.decompressobj(wbits=31), 0, place
    except (OSError, zlib.error) as error:
        raise DataError(f"{manifest}: a damaged manifest ({error}); prepare the data again") from error
    if start != place:
        raise DataError(f"{manifest}: a damaged manifest (it ends too early); prepare the data again")
    return [part for part in parts if part.count]


def deal(parts: Sequence[Part], order: Sequence[int], lanes: int) -> list[list[Part]]:
    """Deal shards to lanes, each to the one that has the fewest utterances so far.

    Args:
        parts: all of them.
        order: their numbers, in the order in which they are dealt and read.
        lanes: number of lanes.

    Returns:
        The shards of each lane.

    Examples:
        >>> parts = [Part(Path("m"), 0, 0, count) for count in (5, 3, 2)]
        >>> [[part.count for part in dealt] for dealt in deal(parts, [0, 1, 2], 2)]
        [[5], [3, 2]]
    """
    dealt: list[list[Part]] = [[] for _ in range(lanes)]
    held = [0] * lanes
    for number in order:
        lane = held.index(min(held))
        dealt[lane].append(parts[number])
        held[lane] += parts[number].count
    return dealt
