"""Which channel to read where the mean of all would be silence: one of them is inverted."""

from __future__ import annotations

import logging
from contextlib import closing
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from bigfoot.audio.streams import open_streams
from bigfoot.paths import printable
from bigfoot.types import Seconds

log = logging.getLogger("bigfoot")

_WINDOW: Seconds = 0.1
_WINDOWS_AT_ONCE = 100
# The mean of N channels that have nothing in common keeps an Nth of their power; inverted ones, next to nothing.
_CANCELLED = 0.1
_SHARE = 0.04


def choose_channel(path: Path, num_channels: int) -> int | None:
    """Find out whether the channels of a file cancel each other out.

    A file of several channels is read once for it, and remembered while it stays the same.

    Args:
        path: a file that opens.
        num_channels: it has.

    Returns:
        The loudest channel where the mean of all loses 4 % of the sound; None where the mean is to be taken.
    """
    if num_channels == 1:
        return None
    status = path.stat()
    return _choose(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1 << 14)
def _choose(path: Path, _size: int, _mtime_ns: int) -> int | None:
    powers, lost = np.zeros(1), 0.0
    try:
        with closing(open_streams(path)) as file:
            window = round(_WINDOW * file.samplerate)
            while len(block := file.read(_WINDOWS_AT_ONCE * window, dtype="float32", always_2d=True)):
                whole = len(block) // window * window
                for windows in (block[:whole].reshape(-1, window, block.shape[1]), block[None, whole:]):
                    if windows.size:
                        power, cancelled = _measure(windows)
                        powers = powers + power.sum(axis=0)
                        lost += float(power[cancelled].sum())
    except (soundfile.LibsndfileError, RuntimeError, OSError):
        return None  # Reading it raises the error.
    # Not "<": what is not finite is no reason either.
    if not lost > _SHARE * float(powers.sum()):
        return None
    # The first of those that are alike but for rounding.
    channel = int((powers >= 0.99 * powers.max()).argmax())
    log.warning("%s: its channels cancel, one is inverted; channel %d alone is used", printable(path), channel + 1)
    return channel


def _measure(windows: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Energy of every channel in windows (W, N, C), and where their mean has next to none of it."""
    count, channels = windows.shape[1:]
    with np.errstate(all="ignore"):
        powers = windows.var(axis=1, dtype=np.float64) * count
        mean = windows.mean(axis=2, dtype=np.float64).var(axis=1) * count
        return powers, mean < _CANCELLED / channels * powers.mean(axis=1)
