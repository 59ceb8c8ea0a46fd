"""Audio of shards, read in their order while batches take it in theirs."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

from bigfoot.data.shards.address import Address
from bigfoot.data.shards.readers import ShardReader, open_shard, read_address

_Item = TypeVar("_Item")


class OrderedAudio:
    """Contents of audio files, each shard of which is opened once and read forwards.

    What lies before an utterance that is taken is held until it is taken too, or dropped: no more than was expected,
    which is what the sampler draws from. An utterance that was not expected is read by itself.

    Args:
        open_one: opens a shard.
    """

    def __init__(self, open_one: Callable[[str], ShardReader] = open_shard) -> None:
        self._open = open_one
        self._order: dict[str, deque[Address]] = {}
        self._waiting: set[Address] = set()
        self._held: dict[Address, bytes] = {}
        self._readers: dict[str, ShardReader] = {}

    def expect(self, address: Address) -> None:
        """Note that audio will be taken or dropped.

        Args:
            address: behind all others of its shard so far.
        """
        self._order.setdefault(address.shard, deque()).append(address)
        self._waiting.add(address)

    def drop(self, address: Address) -> None:
        """Note that audio will not be taken; it is not read.

        Args:
            address: that was expected.
        """
        self._held.pop(address, None)
        self._waiting.discard(address)
        self._close_finished(address.shard)

    def take(self, address: Address) -> bytes:
        """Return the content of an audio file.

        Args:
            address: of a cut.
        """
        if address in self._held:
            return self._held.pop(address)
        if address not in self._waiting:
            return read_address(address)
        order = self._order[address.shard]
        while address in self._waiting:
            first = order.popleft()
            if first in self._waiting:
                self._waiting.remove(first)
                self._held[first] = self._reader(address.shard).read(first)
        self._close_finished(address.shard)
        return self._held.pop(address)

    def _reader(self, shard: str) -> ShardReader:
        if shard not in self._readers:
            self._readers[shard] = self._open(shard)
        return self._readers[shard]

    def _close_finished(self, shard: str) -> None:
        order = self._order.get(shard, deque())
        while order and order[0] not in self._waiting:
            order.popleft()
        if not order and shard in self._readers:
            self._readers.pop(shard).close()


def run_ahead(items: Iterator[_Item], depth: int) -> Iterator[_Item]:
    """Go through an iterator in a thread, so that waiting for a network stops nothing else.

    Args:
        items: gone through by that thread alone.
        depth: items that are held at most.

    Yields:
        The same, in the same order; an error where it comes.
    """
    waiting: queue.Queue[tuple[_Item | None, BaseException | None]] = queue.Queue(depth)
    is_closed = threading.Event()

    def put(item: _Item | None, error: BaseException | None) -> bool:
        while not is_closed.is_set():
            try:
                waiting.put((item, error), timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item, None):
                    return
            put(None, StopIteration())
        except BaseException as error:
            put(None, error)

    threading.Thread(target=work, daemon=True, name="bigfoot-shards").start()
    try:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        is_closed.set()
