"""Data folders of Kaldi: ``wav.scp``, ``segments``, ``text``, ``utt2spk``, as its recipes and ESPnet's write them.

lhotse's reader needs every file and every line to be right, and runs the commands of ``wav.scp``; here a bad line is
named, and no command is run: those that only unpack a file are replaced by reading that file.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from bigfoot.data.manifests import UNKNOWN_SPEAKER, ListedUtterance
from bigfoot.data.stretches import Stretch
from bigfoot.data.transcripts import read_pairs
from bigfoot.errors import DataError

_UNPACKERS = ("sph2pipe", "flac", "cat", "sox", "ffmpeg")
"""Commands whose output is the file they read, but for its format and rate."""
_EFFECTS = frozenset(
    ("speed", "tempo", "pitch", "remix", "trim", "pad", "vol", "reverb", "-v", "-ss", "-t", "-af", "-filter:a",
     "-map_channel", "--skip", "--until")
)  # fmt: skip
_SPEAKER_LABELS = ("age", "gender")


@dataclass(frozen=True)
class _Source:
    """A recording of ``wav.scp``: its file and channel, or why it cannot be read."""

    path: Path
    channel: int | None = None
    problem: str | None = None


def list_kaldi(root: Path, split: str, untranscribed: bool = False) -> list[ListedUtterance]:
    """List a data folder of Kaldi (Povey et al., 2011).

    Its files hold a key and values a line; ``segments`` is there where recordings are longer than utterances::

        wav.scp    sw02001-A /usr/bin/sph2pipe -f wav -p -c 1 /corpora/swbd/sw02001.sph |
        segments   sw02001-A_000098-001156 sw02001-A 0.98 11.56
        text       sw02001-A_000098-001156 HI UM YEAH I'D LIKE TO TALK
        utt2spk    sw02001-A_000098-001156 2001-A

    Args:
        root: folder to which paths in ``wav.scp`` are relative.
        split: the data folder below it, such as ``data/train``.
        untranscribed: transcripts are not trained on.

    Returns:
        The utterances in the order of ``segments``, or else of ``wav.scp``. Those without audio or transcript, and
        lines of commands that do more than unpack a file, have a ``problem``. Labels are ``age`` and ``gender`` of the
        speaker, of ``spk2age`` and ``spk2gender``.

    Raises:
        DataError: there is no ``wav.scp``.
    """
    folder = root / split
    if not (folder / "wav.scp").is_file():
        raise DataError(f"data: {folder} holds no wav.scp; name a data folder of Kaldi below data.root")
    sources = {name: _read_source(root, place) for name, place in read_pairs(folder / "wav.scp")}
    texts, speakers = (dict(read_pairs(folder / name)) for name in ("text", "utt2spk"))
    labels = _read_speaker_labels(folder)
    listed = []
    for name, recording, stretch, problem in _read_utterances(folder, list(sources)):
        source = sources.get(recording, _Source(folder / "wav.scp", problem=f"wav.scp has no recording {recording}"))
        missing = None if untranscribed or name in texts else f"no transcript in {split}/text"
        speaker = speakers.get(name, UNKNOWN_SPEAKER)
        listed.append(
            ListedUtterance(
                name, source.path, texts.get(name, ""), speaker, problem or source.problem or missing, stretch,
                labels.get(speaker, {}), source.channel,
            )
        )  # fmt: skip
    return listed


def _read_utterances(folder: Path, recordings: list[str]) -> list[tuple[str, str, Stretch | None, str | None]]:
    """Name, recording, stretch and problem of every utterance."""
    if not (folder / "segments").is_file():
        return [(name, name, None, None) for name in recordings]
    return [(name, *_read_segment(rest)) for name, rest in read_pairs(folder / "segments")]


def _read_segment(rest: str) -> tuple[str, Stretch | None, str | None]:
    recording, *times = rest.split() or [""]
    try:
        start, end = map(float, times[:2])
    except ValueError:
        return recording, None, f"segments has {rest!r}; expected a recording, a start and an end"
    if end == -1:  # to the end of the recording
        return recording, Stretch(start), None
    if not 0 <= start < end:
        return recording, None, f"segments has a stretch from {start:g} to {end:g} s"
    return recording, Stretch(start, end - start), None


def _read_source(root: Path, place: str) -> _Source:
    if not place.endswith("|"):
        archived = Path(place.rpartition(":")[0]).suffix == ".ark"
        return _Source(root / place, problem="lies in an archive of Kaldi; write it as files" if archived else None)
    problem = f"its line in wav.scp runs {place!r}, which is not run here; write the audio as files"
    try:
        program, *words = shlex.split(place[:-1])
    except ValueError:
        return _Source(root / "wav.scp", problem=problem)
    name, files = Path(program).name, [word for word in words if (root / word).is_file()]
    # Of sox it is the type of a file, of the others a time.
    changes = _EFFECTS.intersection(words) - ({"-t"} if name == "sox" else set())
    if name not in _UNPACKERS or "|" in words or len(files) != 1 or changes:
        return _Source(root / "wav.scp", problem=problem)
    channel = None
    if name == "sph2pipe" and "-c" in words[:-1]:
        number = words[words.index("-c") + 1]
        if number not in ("1", "2"):
            return _Source(root / "wav.scp", problem=problem)
        channel = int(number) - 1
    return _Source(root / files[0], channel)


def _read_speaker_labels(folder: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for key in _SPEAKER_LABELS:
        for speaker, value in read_pairs(folder / f"spk2{key}"):
            found.setdefault(speaker, {})[key] = value
    return found
