"""How batches are read ahead of a training: by how many processes, and from when on."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from accelerate import Accelerator

from bigfoot.data.batches import Batch, Position, training_batches
from bigfoot.data.settings import DataConfig
from bigfoot.runtime.lanes import count_processors
from bigfoot.training.masking import drawer_for_workers
from bigfoot.training.protocol import TrainingObjective
from bigfoot.training.run import TrainingRun
from bigfoot.types import Seconds

log = logging.getLogger("bigfoot")

_MOST = 8
"""A batch takes a worker tens of milliseconds: more of them only hold memory."""
_SOON: Seconds = 5.0
_FEWEST_BATCHES = 5
_WORTH_A_FREE_PROCESSOR, _WORTH_A_BUSY_ONE = 0.05, 0.25
"""Share of the time spent waiting for data from which a worker pays, with and without a processor that is idle."""

Open = Callable[[Position, int], Iterator[Batch]]


def count_workers(wanted: int | str, device: torch.device) -> int:
    """Return with how many workers a stream of batches starts.

    Args:
        wanted: ``data.num_workers``, a number or ``auto``.
        device: of the training.

    Examples:
        >>> count_workers(3, torch.device("cpu")), count_workers("auto", torch.device("cpu"))
        (3, 0)
    """
    if not isinstance(wanted, str):
        return wanted
    # The processors of a CPU training are busy with the model.
    return 0 if device.type == "cpu" else min(_MOST, max(1, _share_of_processors() - 1))


def count_later(wanted: int | str, device: torch.device) -> tuple[int, float]:
    """Return the workers of a training that is seen to wait for data, and from which share of its time on.

    Args:
        wanted: ``data.num_workers``.
        device: of the training.
    """
    if wanted != "auto" or device.type != "cpu":
        return 0, 1.0
    idle = _share_of_processors() - torch.get_num_threads()
    return min(2, max(1, idle)), _WORTH_A_FREE_PROCESSOR if idle > 0 else _WORTH_A_BUSY_ONE


def _share_of_processors() -> int:
    """Processors for each of the processes that a launcher started on this machine."""
    return max(1, count_processors() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


class Feed(Iterator[Batch]):
    """An endless stream of batches that gets workers once it is seen that they pay.

    The batches are those of the stream, whatever the number of workers: it is taken up at the position of the last.

    Args:
        name: of the training, for the log.
        open_: opens the stream at a position with a number of workers.
        start: first position.
        wanted: ``data.num_workers``.
        device: of the training.
    """

    def __init__(self, name: str, open_: Open, start: Position, wanted: int | str, device: torch.device) -> None:
        self._name, self._open, self._position = name, open_, start
        self.workers = count_workers(wanted, device)
        self._later, self._worth = count_later(wanted, device)
        self._stream = open_(start, self.workers)
        self._began, self._waited, self._taken = time.perf_counter(), 0.0, 0

    def __next__(self) -> Batch:
        """Return the next batch."""
        began = time.perf_counter()
        if self._later and self._pays(began):
            self.workers, self._later = self._later, 0
            log.info("%s: waits for data, which %d workers read from now on", self._name, self.workers)
            self._stream = self._open(self._position, self.workers)
        batch = next(self._stream)
        self._taken += 1
        # The first batch opens files and fills buckets, which it does in workers too.
        if self._taken > 1:
            self._waited += time.perf_counter() - began
        position = batch.through or batch.position
        assert position is not None
        self._position = position
        return batch

    def _pays(self, now: float) -> bool:
        passed = now - self._began
        return self._taken >= _FEWEST_BATCHES and passed >= _SOON and self._waited > self._worth * passed


def feed(
    objective: TrainingObjective, run: TrainingRun, data: DataConfig, start: Position, accelerator: Accelerator
) -> Feed:
    """Open the stream of a training's batches; masks are drawn where they are read.

    Args:
        objective: whose student they are for.
        run: settings and manifests.
        data: batching and augmentation, with a number of seconds.
        start: first position.
        accelerator: of the training.
    """
    drawer = drawer_for_workers(objective.student, run.config.spec_augment, run.seed)

    def open_(position: Position, workers: int) -> Iterator[Batch]:
        return training_batches(
            run.manifests["train"], run.processor, replace(data, num_workers=workers), run.seed, position,
            accelerator.process_index, accelerator.num_processes, drawer if workers else None,
        )  # fmt: skip

    return Feed(run.name, open_, start, data.num_workers, accelerator.device)
