"""Read the streams of a file as one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import soundfile

from bigfoot.audio.containers import Stream, find_streams
from bigfoot.errors import AudioError
from bigfoot.paths import is_utf8

_LEAD = 8 * 1152


class AudioFile(Protocol):
    """The part of ``soundfile.SoundFile`` that is used."""

    @property
    def samplerate(self) -> int:
        """Rate in Hz."""

    @property
    def channels(self) -> int:
        """Number of channels."""

    @property
    def frames(self) -> int:
        """Samples of one channel."""

    @property
    def format(self) -> str:
        """Kind of container."""

    @property
    def extra_info(self) -> str:
        """Return libsndfile's log."""

    def seek(self, frames: int) -> int:
        """Seek to a sample, once and before anything is read."""

    def read(self, frames: int, dtype: str = ..., always_2d: bool = ...) -> npt.NDArray[np.float32]:
        """Read samples (frames, channels), fewer at the end."""

    def close(self) -> None:
        """Close it."""


def open_streams(path: Path) -> AudioFile:
    """Open a file with all its streams.

    Args:
        path: a regular file.

    Returns:
        What soundfile opens; of several streams, one behind the other.

    Raises:
        AudioError: streams of different rates or channels.
        soundfile.LibsndfileError: not audio.
        OSError: it cannot be read.
    """
    streams = find_streams(path)
    if len(streams) == 1 and not streams[0].head:
        # soundfile encodes names strictly; what is not UTF-8 goes by its bytes.
        return _Reader(path if is_utf8(path) else os.fsencode(path))
    with ExitStack() as opened:
        files = []
        for stream in streams:
            stretch = opened.enter_context(closing(_Slice(path, stream)))
            files.append(opened.enter_context(_Reader(stretch)))
        kinds = {(file.samplerate, file.channels) for file in files}
        if len(kinds) > 1:
            named = ", ".join(f"{rate} Hz with {channels} channels" for rate, channels in sorted(kinds))
            raise AudioError(path, f"holds {len(files)} streams of different kinds ({named}); separate them")
        return _Joined(files, opened.pop_all())


class _Reader(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read on from where reading stopped.

    soundfile seeks to that very place after every block; the decoder of mp3 then loses what was to come, a tenth of a
    second, and that of FLAC takes its time.
    """

    def seekable(self) -> bool:
        return False

    def seek(self, frames: int) -> int:
        """Seek to a sample, once and before anything is read."""
        # A frame of mp3 needs those before it: what is read right behind a jump is silence.
        lead = min(frames, _LEAD) if self.format == "MP3" else 0
        if frames > lead:
            super().seek(frames - lead)
        if lead:
            self.read(lead, dtype="float32")
        return frames


class _Slice:
    """A stretch of a file as a file, with a header of its own."""

    def __init__(self, path: Path, stream: Stream) -> None:
        self._file = path.open("rb")
        self._stream = stream
        self._place = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        size = self._stream.end - self._stream.begin
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._stream.end - self._stream.begin - self._place)
        size = left if size < 0 else min(size, left)
        head = self._stream.head[self._place : self._place + size]
        found = head
        if size > len(head):  # What is put in front of a file lies nowhere in it.
            self._file.seek(self._stream.begin + self._place + len(head))
            found += self._file.read(size - len(head))
        self._place += len(found)
        return found

    def close(self) -> None:
        self._file.close()


class _Joined:
    """Files of one kind as one."""

    def __init__(self, files: Sequence[soundfile.SoundFile], opened: ExitStack) -> None:
        self._files, self._opened = files, opened
        self._current = 0
        self.samplerate: int = files[0].samplerate
        self.channels: int = files[0].channels
        self.frames: int = sum(file.frames for file in files)
        self.format: str = files[0].format
        self.extra_info = "\n".join(file.extra_info for file in files)

    def seek(self, frames: int) -> int:
        left, self._current = frames, 0
        while left >= self._files[self._current].frames and self._current + 1 < len(self._files):
            left -= self._files[self._current].frames
            self._current += 1
        self._files[self._current].seek(left)
        return frames

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> npt.NDArray[np.float32]:
        parts: list[npt.NDArray[np.float32]] = []
        while True:
            parts.append(self._files[self._current].read(frames, dtype=dtype, always_2d=always_2d))
            frames -= len(parts[-1])
            if frames <= 0 or self._current + 1 == len(self._files):
                return np.concatenate(parts)
            self._current += 1

    def close(self) -> None:
        self._opened.close()
