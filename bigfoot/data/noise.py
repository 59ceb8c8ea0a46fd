"""Noise out of a folder of recordings: which file and which part of it is drawn for every utterance."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bigfoot.audio.files import read_audio, read_header
from bigfoot.audio.folders import find_audio
from bigfoot.errors import AudioError, DataError
from bigfoot.storage.remote import fetch
from bigfoot.types import SAMPLE_RATE, Samples, Seconds

log = logging.getLogger("bigfoot")

# Seconds read beyond what is needed, since resampling may give a sample less.
_MARGIN: Seconds = 0.01


@dataclass
class NoiseFolder:
    """Recordings of noise, found once.

    Args:
        folder: where they lie.
        files: the recordings, sorted.
    """

    folder: Path
    files: list[Path]
    _named: set[Path] = field(default_factory=set, repr=False)

    @classmethod
    def find(cls, folder: str | Path) -> NoiseFolder:
        """Find recordings anywhere below a folder.

        Raises:
            DataError: there is no such folder, or no audio in it.
        """
        folder = fetch(folder).expanduser().absolute()
        if not folder.is_dir():
            raise DataError(f"data.augment.noise_folder: no folder {folder}; point it at recordings of noise")
        problems: list[AudioError] = []
        files = find_audio(folder, problems)
        for error in problems:
            log.warning("noise: %s", error)
        if not files:
            raise DataError(f"data.augment.noise_folder: {folder} holds no audio that soundfile reads (wav, flac, ...)")
        return cls(folder, files)

    def cut(self, length: int, rng: np.random.Generator) -> Samples:
        """Cut noise at a drawn place out of a drawn recording; one that is too short is repeated.

        A recording that cannot be read is named in the log, once in each process, and another is drawn. What comes
        back follows from the generator and the files alone, never from what was cut before.

        Args:
            length: N, samples at 16 kHz, 1 or more.
            rng: source of every draw.

        Returns:
            (N,) float32.

        Raises:
            DataError: none of the recordings can be read.
        """
        left = list(self.files)
        while left:
            path = left.pop(int(rng.integers(len(left))))
            try:
                return _cut_file(path, length, rng)
            except AudioError as error:
                self._name(error, path)
        raise DataError(f"data.augment.noise_folder: none of the {len(self.files)} files in {self.folder} can be read")

    def _name(self, error: AudioError, path: Path) -> None:
        if path not in self._named:
            self._named.add(path)
            log.warning("noise: %s; another recording takes its place", error)


def _cut_file(path: Path, length: int, rng: np.random.Generator) -> Samples:
    needed = length / SAMPLE_RATE + _MARGIN
    spare = read_header(path).seconds - needed
    if spare > 0:
        return np.resize(read_audio(path, offset=rng.uniform(0, spare), duration=needed), length)
    noise = read_audio(path)
    return np.resize(np.roll(noise, -int(rng.integers(len(noise)))), length)
