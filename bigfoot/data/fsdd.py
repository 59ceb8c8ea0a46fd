"""The Free Spoken Digit Dataset as strings of digits: recordings of one speaker joined with short gaps.

Files are named ``DIGIT_SPEAKER_INDEX.wav``, 8 kHz, such as ``7_jackson_32.wav``. The official test split is INDEX 0
to 4; bigfoot takes 5 to 7 as dev and the rest as train.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from bigfoot.audio.files import read_audio
from bigfoot.data.manifests import ListedUtterance
from bigfoot.data.utterance import Utterance, digits_to_text, silence
from bigfoot.errors import AudioError, DataError
from bigfoot.types import Samples

INDEX_RANGES = {"test": range(0, 5), "dev": range(5, 8), "train": range(8, 10_000), "all": range(0, 10_000)}
_SPLIT_CODE = {"train": 0, "dev": 1, "test": 2}


def find_recordings(root: str | Path, split: str) -> dict[str, list[tuple[int, Path]]]:
    """List a split's recordings by speaker.

    Args:
        root: the dataset's folder, or its ``recordings``.
        split: ``train``, ``dev``, ``test``, or ``all`` of them.

    Returns:
        Speaker to (digit, file), in order of file name.

    Raises:
        DataError: the folder is missing or holds no recording of the split.
    """
    folder = Path(root) / "recordings" if (Path(root) / "recordings").is_dir() else Path(root)
    if not folder.is_dir():
        raise DataError(f"data.root: no FSDD recordings at {folder}; point it at the folder that holds recordings/")
    found: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted(folder.glob("*.wav")):
        name = re.fullmatch(r"(\d)_([^_]+)_(\d+)", path.stem)
        if name and int(name[3]) in INDEX_RANGES[split]:
            found.setdefault(name[2], []).append((int(name[1]), path))
    if not found:
        raise DataError(f"data.root: {folder} holds no recording of FSDD's {split} split (DIGIT_SPEAKER_INDEX.wav)")
    return found


def list_recordings(root: str | Path, split: str) -> list[ListedUtterance]:
    """List single recordings, for tasks.

    Args:
        root: the dataset's folder, or its ``recordings``.
        split: ``train``, ``dev``, ``test``, or ``all`` of them.

    Returns:
        One utterance a file, in order of speaker and file, with the labels ``digit`` and ``speaker``.

    Raises:
        DataError: the folder is missing or holds no recording of the split.
    """
    if split not in INDEX_RANGES:
        raise DataError(f"data: FSDD has no split {split!r}; name one of {', '.join(INDEX_RANGES)}")
    return [
        ListedUtterance(path.stem, path, "", speaker, labels={"digit": str(digit), "speaker": speaker})
        for speaker, files in sorted(find_recordings(root, split).items())
        for digit, path in files
    ]


def join_strings(
    root: str | Path,
    split: str,
    count: int,
    seed: int,
    min_digits: int = 1,
    max_digits: int = 8,
    on_error: Callable[[AudioError], None] | None = None,
    unseen: Sequence[str] = (),
) -> Iterator[Utterance]:
    """Join recordings of one speaker into strings of digits.

    Args:
        root: the dataset's folder, or its ``recordings``.
        split: ``train``, ``dev`` or ``test``.
        count: number of strings; a recording may stand in several.
        seed: decides which recordings meet, and the gaps.
        min_digits: fewest digits in a string.
        max_digits: most digits in a string.
        on_error: called with the error of an unreadable recording, which is left out; without it the error is raised.
        unseen: speakers of test alone, so that no speaker is in two splits; none leaves all speakers in all splits.

    Yields:
        Utterances at 16 kHz with gaps of at most 0.2 s.

    Raises:
        DataError: the folder is missing or holds no usable recording of the split, or a speaker is not in it.
        AudioError: a recording cannot be read, and there is no ``on_error``.
    """
    by_speaker = _choose_speakers(find_recordings(root, split), split, unseen)
    sounds = _read_all([path for files in by_speaker.values() for _, path in files], on_error)
    by_speaker = {speaker: [f for f in files if f[1] in sounds] for speaker, files in by_speaker.items()}
    speakers = sorted(speaker for speaker, files in by_speaker.items() if files)
    if not speakers:
        raise DataError(f"data.root: none of the recordings of FSDD's {split} split under {root} can be read")
    for index in range(count):
        rng = np.random.default_rng([seed, _SPLIT_CODE[split], index])
        speaker = speakers[index % len(speakers)]
        files = by_speaker[speaker]
        chosen = [files[i] for i in rng.integers(len(files), size=rng.integers(min_digits, max_digits + 1))]
        parts = [silence(rng, 0.2)]
        for _, path in chosen:
            parts += [sounds[path], silence(rng, 0.2)]
        text = digits_to_text([digit for digit, _ in chosen])
        yield Utterance(f"fsdd-{split}-{index:06d}", speaker, text, np.concatenate(parts))


def _choose_speakers(
    by_speaker: dict[str, list[tuple[int, Path]]], split: str, unseen: Sequence[str]
) -> dict[str, list[tuple[int, Path]]]:
    if unknown := sorted(set(unseen) - set(by_speaker)):
        raise DataError(f"data.unseen_speakers: {', '.join(unknown)} is none of {', '.join(sorted(by_speaker))}")
    if unseen and set(unseen) == set(by_speaker):
        raise DataError("data.unseen_speakers: names all speakers, and none is left to train on")
    in_test = split == "test"
    return {name: files for name, files in by_speaker.items() if not unseen or (name in unseen) == in_test}


def _read_all(paths: list[Path], on_error: Callable[[AudioError], None] | None) -> dict[Path, Samples]:
    sounds = {}
    for path in paths:
        try:
            sounds[path] = read_audio(path)
        except AudioError as error:
            if on_error is None:
                raise
            on_error(error)
    return sounds
