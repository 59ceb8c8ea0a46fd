"""Utterances listed by folders: LibriSpeech's own tree, audio beside its text, and speechocean762's two layouts.

lhotse has a LibriSpeech recipe, but it stops at the first bad file and passes over missing ones; here both are named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bigfoot.audio.folders import READABLE, UNREADABLE, type_problem, walk_files
from bigfoot.data.manifests import ListedUtterance, tell_apart
from bigfoot.data.published.kaldi import list_kaldi
from bigfoot.data.rows import read_rows
from bigfoot.data.tables import list_table
from bigfoot.data.transcripts import read_pairs, read_text_file
from bigfoot.errors import AudioError, DataError

# What lies in a folder of speech without being a transcript.
_NOT_TRANSCRIPTS = ("README", "LICENSE", "LICENCE", "COPYING", "NOTICE")


def list_librispeech(root: Path, split: str) -> list[ListedUtterance]:
    """List a split of LibriSpeech, or of anything laid out like it.

    The tree is ``SPLIT/SPEAKER/CHAPTER/ID.flac``; beside it lies ``SPEAKER-CHAPTER.trans.txt`` with lines like::

        909-131041-0000 THE MODE OF APPOINTMENT OF THE CHIEF MAGISTRATE OF THE UNITED STATES IS ALMOST

    Args:
        root: the folder of the splits.
        split: name of a folder in it, such as ``train-clean-100``.

    Returns:
        The utterances in order of speaker, chapter and number; audio without a transcript has a ``problem``.

    Raises:
        DataError: there is no such split; those that are there are named.
    """
    folder = _find_folder(root, split)
    return [item for chapter in sorted(folder.glob("*/*")) if chapter.is_dir() for item in _list_chapter(chapter)]


def _find_folder(root: Path, split: str) -> Path:
    folder = root / split
    if not folder.is_dir():
        there = ", ".join(sorted(p.name for p in root.iterdir() if p.is_dir())) or "no folder at all"
        raise DataError(f"data: no split {split} in {root} (there: {there})")
    return folder


def _list_chapter(chapter: Path) -> Iterator[ListedUtterance]:
    speaker = chapter.parent.name
    listing = chapter / f"{speaker}-{chapter.name}.trans.txt"
    problem, pairs = f"no transcript in {listing.name}", []
    try:
        pairs = read_pairs(listing)
    except DataError as error:
        problem = str(error)
    for name, text in pairs:
        yield ListedUtterance(name, chapter / f"{name}.flac", text, speaker)
    listed = {name for name, _ in pairs}
    for path in sorted(chapter.glob("*.flac")):
        if path.stem not in listed:
            yield ListedUtterance(path.stem, path, "", speaker, problem=problem)


def list_folder(root: Path, split: str, text_is_optional: bool = False) -> list[ListedUtterance]:
    """List audio anywhere below a folder, with its text in a .txt of the same name beside it, or without any text.

    The folder that a file lies in is taken for its speaker::

        anna/0001.flac   anna/0001.txt   bert/0001.mp3   bert/0001.txt

    Args:
        root: the folder of the splits.
        split: name of a folder in it, or ``.`` for the root itself.
        text_is_optional: audio without text is nothing to complain of where other audio has one.

    Returns:
        The utterances in order of path, their ids their paths below the root, with the suffix where two differ
        in it alone, text ``""`` where there is none. Audio
        whose type cannot be read, audio without text among audio with text, and text without audio have a ``problem``.

    Raises:
        DataError: there is no such folder; those that are there are named.
    """
    folder = _find_folder(root, split)
    problems: list[AudioError] = []
    files = walk_files(folder, problems)
    audio = [path for path in files if path.suffix.lower() in READABLE | UNREADABLE]
    texts = {
        path.with_suffix(""): path
        for path in files
        if path.suffix.lower() == ".txt" and path.stem.upper() not in _NOT_TRANSCRIPTS
    }
    needs_text = not text_is_optional and any(path.with_suffix("") in texts for path in audio)
    stems = [path.with_suffix("") for path in audio]
    listed = tell_apart([
        _list_file(path, texts.get(stem), folder, split, needs_text) for path, stem in zip(audio, stems, strict=True)
    ])  # fmt: skip
    lone = texts.keys() - set(stems)
    for path in (texts[stem] for stem in sorted(lone)) if needs_text else ():
        name = _name(path, folder, split)
        listed.append(ListedUtterance(name, path, "", path.parent.name, problem="no audio beside this text"))
    return listed + [ListedUtterance(error.path, Path(error.path), "", "", error.reason) for error in problems]


def _name(path: Path, folder: Path, split: str) -> str:
    return (Path(split) / path.relative_to(folder).with_suffix("")).as_posix()


def _list_file(path: Path, text: Path | None, folder: Path, split: str, needs_text: bool) -> ListedUtterance:
    problem, transcript = type_problem(path), ""
    if problem is None and needs_text and text is None:
        problem = f"no {path.stem}.txt beside it, while other audio has its text"
    elif problem is None and text is not None:
        try:
            transcript = read_text_file(text)
        except DataError as error:
            problem = str(error)
    return ListedUtterance(_name(path, folder, split), path, transcript, path.parent.name, problem)


def list_speechocean762(root: Path, split: str, untranscribed: bool = False) -> list[ListedUtterance]:
    """List a split of speechocean762 (Zhang et al., 2021), as published or as a table.

    As published, a split is a folder in the manner of Kaldi, ``train`` or ``test``, beside ``WAVE``::

        train/wav.scp   000010011<TAB>WAVE/SPEAKER0001/000010011.WAV
        train/text      000010011<TAB>WE CALL IT BEAR
        train/utt2spk   000010011 0001

    A table ``SPLIT.tsv`` (see ``list_table``) comes before it.

    Args:
        root: the folder of ``WAVE``, ``train`` and ``test``, or of the tables.
        split: name of a folder or stem of a table.
        untranscribed: transcripts are not trained on.

    Returns:
        The utterances in the order of the table or of ``wav.scp``; audio without transcript has a ``problem``. Labels
        are ``age`` and ``gender`` of the speaker, of ``speakers.tsv`` or of ``spk2age`` and ``spk2gender``.

    Raises:
        DataError: the split is there in neither form.
    """
    if (root / f"{split}.tsv").is_file():
        return _with_speaker_labels(list_table(root / f"{split}.tsv", untranscribed=untranscribed), root)
    if not (root / split / "wav.scp").is_file():
        raise DataError(f"data: {root} holds neither {split}.tsv nor {split}/wav.scp of speechocean762")
    return _with_speaker_labels(list_kaldi(root, split, untranscribed), root)


def _with_speaker_labels(listed: list[ListedUtterance], root: Path) -> list[ListedUtterance]:
    """Add the age and gender of speakers, as far as ``speakers.tsv`` has them."""
    if not (root / "speakers.tsv").is_file():
        return listed
    rows = (row.values for row in read_rows(root / "speakers.tsv")[1])
    found = {str(row["speaker"]): {key: row[key] for key in ("age", "gender") if row.get(key)}
             for row in rows if row.get("speaker")}  # fmt: skip
    return [replace(item, labels=found[item.speaker]) if item.speaker in found else item for item in listed]
