"""Audio and transcripts that lie in two folders and belong together by their names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bigfoot.audio.files import READABLE, UNREADABLE, walk_files
from bigfoot.errors import DataError


@dataclass(frozen=True)
class Pair:
    """A recording and what was said in it.

    Args:
        name: the recording's path below its folder, with slashes; unique.
        audio: its file.
        transcript: of the same path below the folder of transcripts, but for the suffix ``.txt``; None without one.
        problem: why the recording cannot be used, where its name tells already.
    """

    name: str
    audio: Path
    transcript: Path | None
    problem: str | None = None

    def read_text(self) -> str | None:
        """The transcript with single spaces between its words; None without one."""
        if self.transcript is None:
            return None
        # What is not UTF-8 becomes a mark; the file is not lost for it.
        return " ".join(self.transcript.read_text(encoding="utf-8-sig", errors="replace").split())


@dataclass(frozen=True)
class PairedFolders:
    """What two folders hold.

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
        audio_dir: looked through to the bottom.
        transcripts_dir: likewise; None where there are no transcripts.

    Returns:
        All that is there, with what misses its partner.

    Raises:
        DataError: no such folder, or no audio in it.

    Example:
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
    audio = [path for path in walk_files(audio_dir) if path.suffix.lower() in suffixes]
    if not audio:
        raise DataError(f"{audio_dir}: holds no audio; soundfile reads {', '.join(sorted(READABLE))}")
    texts = {} if transcripts_dir is None else _find_texts(transcripts_dir)
    stems = [_stem(path, audio_dir) for path in audio]
    pairs = [
        Pair(path.relative_to(audio_dir).as_posix(), path, texts.get(stem), _name_problem(path))
        for path, stem in zip(audio, stems, strict=True)
    ]
    lone = [] if transcripts_dir is None else [pair.name for pair in pairs if pair.transcript is None]
    return PairedFolders(pairs, lone, sorted(f"{stem}.txt" for stem in texts.keys() - set(stems)))


def _stem(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _find_texts(folder: Path) -> dict[str, Path]:
    return {_stem(path, folder): path for path in walk_files(folder) if path.suffix.lower() == ".txt"}


def _name_problem(path: Path) -> str | None:
    if path.suffix.lower() in UNREADABLE:
        return f"soundfile cannot read {path.suffix.lower()}; convert it, such as to .flac with ffmpeg"
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8; give it another"
    return None
