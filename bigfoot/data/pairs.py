"""Audio and transcripts that lie in two folders and belong together by their names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bigfoot.audio.folders import READABLE, UNREADABLE, type_problem, walk_files
from bigfoot.data.transcripts import read_text_file
from bigfoot.errors import AudioError, DataError
from bigfoot.paths import printable

NAME_PROBLEM = "its name is not UTF-8, or holds control characters; give it another"


@dataclass(frozen=True)
class Pair:
    """A recording and its transcript.

    Args:
        name: the recording's path below its folder, with slashes, in printable characters; unique among those without
            a ``problem``.
        audio: its file.
        transcript: of the same path below the folder of transcripts, but for the suffix ``.txt``; None without one.
        problem: why the recording cannot be used, where its name already shows it.
    """

    name: str
    audio: Path
    transcript: Path | None
    problem: str | None = None

    def read_text(self) -> str | None:
        """Return the transcript with single spaces between its words; None without one.

        Raises:
            DataError: it cannot be read.
        """
        return None if self.transcript is None else " ".join(read_text_file(self.transcript).split())


@dataclass(frozen=True)
class PairedFolders:
    """Contents of two folders.

    Args:
        pairs: every recording, in order of its path.
        lone_audio: names of those that have no transcript; none where there are no transcripts at all.
        lone_transcripts: transcripts without a recording, paths below their folder.
    """

    pairs: list[Pair]
    lone_audio: list[str]
    lone_transcripts: list[str]


def pair_by_name(audio_dir: Path, transcripts_dir: Path | None = None) -> PairedFolders:
    """Pair ``a/b.wav`` of the one folder with ``a/b.txt`` of the other, which may be the same.

    Args:
        audio_dir: searched recursively.
        transcripts_dir: likewise; None where there are no transcripts.

    Returns:
        All that is there, with what misses its partner.

    Raises:
        DataError: no such folder, or no audio in it.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("a.wav", "a.txt", "b.flac", "c.txt"):
        ...     _ = (folder / name).write_text("")
        >>> found = pair_by_name(folder, folder)
        >>> [pair.name for pair in found.pairs], found.lone_audio, found.lone_transcripts
        (['a.wav', 'b.flac'], ['b.flac'], ['c.txt'])
    """
    for folder in (audio_dir, transcripts_dir):
        if folder is not None and not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
    suffixes = READABLE | UNREADABLE
    problems: list[AudioError] = []
    audio = [path for path in walk_files(audio_dir, problems) if path.suffix.lower() in suffixes]
    if not audio and not problems:
        raise DataError(f"{audio_dir}: holds no audio; soundfile reads {', '.join(sorted(READABLE))}")
    texts = {} if transcripts_dir is None else _find_texts(transcripts_dir)
    stems = [_stem(path, audio_dir) for path in audio]
    pairs = [
        Pair(printable(path.relative_to(audio_dir).as_posix()), path, texts.get(stem), _name_problem(path))
        for path, stem in zip(audio, stems, strict=True)
    ]
    pairs += [Pair(error.path, Path(error.path), None, error.reason) for error in problems]
    lone = [] if transcripts_dir is None else [pair.name for pair in pairs if pair.transcript is None]
    return PairedFolders(pairs, lone, sorted(printable(f"{stem}.txt") for stem in texts.keys() - set(stems)))


def _stem(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _find_texts(folder: Path) -> dict[str, Path]:
    return {_stem(path, folder): path for path in walk_files(folder) if path.suffix.lower() == ".txt"}


def _name_problem(path: Path) -> str | None:
    return type_problem(path) or (None if printable(path.name) == path.name else NAME_PROBLEM)
