"""Multilingual LibriSpeech (Pratap et al., 2020)."""

from __future__ import annotations

from pathlib import Path

from bigfoot.data.manifests import ListedUtterance
from bigfoot.data.transcripts import read_pairs, read_text_lines
from bigfoot.errors import DataError


def list_mls(root: Path, split: str) -> list[ListedUtterance]:
    """List a split of a language.

    A language is a folder ``mls_polish``, or ``mls_polish_opus``, with the gender of its speakers beside its splits::

        metainfo.txt                           6892   |    M    | train | 23.421 | Balladyna | ...
        train/transcripts.txt                  6892_8912_000000<TAB>text of the utterance
        train/audio/6892/8912/6892_8912_000000.flac

    Args:
        root: folder of the languages.
        split: language and split, such as ``polish/train``.

    Returns:
        The utterances in the order of ``transcripts.txt``, with the label ``gender`` (F or M).

    Raises:
        DataError: there is no such language or split.
    """
    language, _, name = split.partition("/")
    folders = (root / f"mls_{language}", root / f"mls_{language}_opus")
    folder = next((found for found in folders if found.is_dir()), None)
    if folder is None or not (folder / name / "transcripts.txt").is_file():
        there = ", ".join(sorted(path.name for path in root.glob("mls_*"))) or "none"
        raise DataError(f"data: no {split} of MLS in {root}; expected LANGUAGE/SPLIT, such as polish/train ({there})")
    genders = _read_genders(folder / "metainfo.txt")
    suffix = ".opus" if folder.name.endswith("_opus") else ".flac"
    listed = []
    for utterance, text in read_pairs(folder / name / "transcripts.txt"):
        speaker, _, rest = utterance.partition("_")
        path = folder / name / "audio" / speaker / rest.partition("_")[0] / f"{utterance}{suffix}"
        labels = {"gender": genders[speaker]} if speaker in genders else {}
        listed.append(ListedUtterance(utterance, path, text, speaker, labels=labels))
    return listed


def _read_genders(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    cells = ([cell.strip() for cell in line.split("|")] for line in read_text_lines(file))
    return {row[0]: row[1] for row in cells if len(row) > 1 and row[0].isdigit()}
