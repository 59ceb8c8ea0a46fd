"""Recordings of several requests in one pass of a model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from bigfoot.audio.chunking import LONGEST_CHUNK
from bigfoot.errors import AudioError
from bigfoot.runtime.transcriber import Transcriber
from bigfoot.runtime.transcript import Transcript
from bigfoot.types import Seconds

MOST_TOGETHER = 64
"""Recordings that are given to the transcriber at once: its window."""


class Ticket(Future[Transcript]):
    """A transcript to come, which nobody may want any more by then."""

    wanted = True

    def give_up(self) -> None:
        """Compute no more of it."""
        self.wanted = False
        self.cancel()


class _Unwanted(Exception):
    """Nobody waits for what is being computed."""


@dataclass(frozen=True)
class _Job:
    path: Path
    result: Ticket = field(default_factory=Ticket)


_Queue = SimpleQueue["_Job | None"]


class Batcher:
    """A model that transcribes what waits, all of it together: while it computes, the next requests gather.

    Texts are those of each recording alone, since the transcriber's batches change nothing. Recordings that are longer
    than a chunk go one by one on a thread of their own, so that no short one waits for an hour of audio.

    Args:
        transcriber: of the model.
        on_pass: called with the number of recordings that go together.
    """

    def __init__(self, transcriber: Transcriber, on_pass: Callable[[int], None] = lambda _: None) -> None:
        self._transcriber, self._on_pass = transcriber, on_pass
        self._short, self._long = _Queue(), _Queue()
        self._threads = [
            Thread(target=self._work, args=(queue, most), name=f"bigfoot-{kind}", daemon=True)
            for kind, queue, most in (("short", self._short, MOST_TOGETHER), ("long", self._long, 1))
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, path: Path, seconds: Seconds) -> Ticket:
        """Queue a recording.

        Args:
            path: of its file, which stays until the result is there.
            seconds: of audio.

        Returns:
            Its transcript, with an error where the audio cannot be decoded; given up, the rest is not computed.
        """
        job = _Job(path)
        (self._long if seconds > LONGEST_CHUNK else self._short).put(job)
        return job.result

    def close(self) -> None:
        """Compute what waits, and end."""
        for queue in (self._short, self._long):
            queue.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self, queue: _Queue, most: int) -> None:
        open_ = True
        while open_:
            taken = [queue.get()]
            try:
                while len(taken) < most and taken[-1] is not None:
                    taken.append(queue.get_nowait())
            except Empty:
                pass  # nothing more waits
            open_ = taken[-1] is not None
            self._run([job for job in taken if job is not None and job.result.set_running_or_notify_cancel()])

    def _run(self, jobs: Sequence[_Job]) -> None:
        """Transcribe together; where that fails as a whole, each alone, so that one costs itself only."""
        if not jobs:
            return
        self._on_pass(len(jobs))
        rest = deque(jobs)

        def check(seconds: Seconds) -> None:
            if not any(job.result.wanted for job in jobs):
                raise _Unwanted

        try:
            for result in self._transcriber.iterate([job.path for job in jobs], _ignore, check):
                rest.popleft().result.set_result(result)
        except _Unwanted as error:
            for job in rest:
                job.result.set_exception(error)
        except Exception as error:
            if len(rest) == 1:
                rest[0].result.set_exception(error)
                return
            for job in rest:
                self._run([job])


def _ignore(error: AudioError) -> None:
    """The transcript has it."""
