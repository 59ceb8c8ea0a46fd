"""The processes of one training: how they find each other, and what is done where one of them is lost."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from bigfoot.errors import TrainingError

_LONGEST_WAIT = timedelta(days=1)
"""The first process may prepare a corpus or run the teacher over it for hours, while the others wait. A process that
ends is noticed at once, whatever this is."""
_LOST = (
    "another process of this run ended or cannot be reached any more; its own output says why. The same command, with "
    "as many processes or another number, resumes from the last checkpoint"
)
_SIGNS = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "broken pipe", "process group")


def is_launched() -> bool:
    """Return whether a launcher (``torchrun``, ``accelerate launch``) started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def join_processes() -> PartialState:
    """Join the other processes of the launcher; every later ``Accelerator`` finds the same ones.

    Without an accelerator for each of them they work on the processor, over gloo: accelerate by itself would leave
    them unconnected, each one training alone.

    Returns:
        Rank, number of processes and device.

    Raises:
        TrainingError: a machine has fewer GPUs than processes.
    """
    if PartialState._shared_state:
        return PartialState()
    on_processor = parse_flag_from_env("ACCELERATE_USE_CPU")
    if not is_launched():
        return PartialState(cpu=on_processor)
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    # Apple's GPU is one, and has no collectives.
    if found is None or found.type == "mps":
        on_processor = True
    elif not on_processor and (here := int(os.environ.get("LOCAL_WORLD_SIZE", "1"))) > torch.accelerator.device_count():
        raise TrainingError(
            f"{here} processes were started on a machine with {torch.accelerator.device_count()} devices "
            f"({found.type}); start at most one for each"
        )
    _announce_termination()
    return PartialState(cpu=on_processor, timeout=_LONGEST_WAIT)


def _announce_termination() -> None:
    """End by an exception where the launcher ends this process since another one failed: locks are given back."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        print(f"error: the launcher stopped this process (rank {os.environ.get('RANK')}): {_LOST}", file=sys.stderr)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)


def is_lost(error: BaseException) -> bool:
    """Return whether an error of a collective call means that another process is gone.

    Args:
        error: of torch.

    Examples:
        >>> is_lost(RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:9346"))
        True
        >>> is_lost(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
        False
    """
    if isinstance(error, torch.distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


@contextmanager
def lost_processes_named() -> Iterator[None]:
    """Raise an error with its remedy where a collective call fails since another process is gone.

    Yields:
        Nothing.

    Raises:
        TrainingError: another process of the run ended.
    """
    try:
        yield
    except Exception as error:
        if is_launched() and is_lost(error):
            raise lost_process(error) from error
        raise


def lost_process(error: BaseException) -> TrainingError:
    """Build the error for a process that is gone.

    Args:
        error: of torch.

    Returns:
        To be raised.
    """
    first = str(error).strip().splitlines() or [type(error).__name__]
    return TrainingError(f"{_LOST} ({first[0][:200]})")
