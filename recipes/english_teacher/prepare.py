"""Write the tables of a real-English teacher: recorded speech as it lies, and espeak-ng's with the times of its words.

    python recipes/english_teacher/prepare.py --data ../shared/data --out runs/english_teacher/data

``train.tsv``, ``dev.tsv`` (speakers that are held out of train-mini) and ``test.tsv`` (dev-mini) are tables for
``data.corpus: table``; ``text.txt`` has the texts without those of dev and test, for a language model. ``--voices
FOLDER`` adds speech of other synthesizers, audio beside .txt of the same name.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bigfoot.errors import DataError, plain_errors

with plain_errors():  # without the extra [train]: its install line
    from bigfoot.audio.files import read_audio, resample, write_audio
    from bigfoot.data.listings import list_folder, list_librispeech
    from bigfoot.data.manifests import ListedUtterance
    from bigfoot.data.synthetic import ACCENTS, VARIANTS
    from bigfoot.data.tables import list_table
    from bigfoot.data.word_times import WORD_TIMES, format_word_times
    from bigfoot.espeak import Voice, speak_with_times
    from bigfoot.progress import track
    from bigfoot.storage.replace import swapped_in

COLUMNS = ("id", "path", "speaker", "text", WORD_TIMES)
TABLES = ("librispeech-extra/train.tsv", "speechocean762/train.tsv", "commonvoice/all.tsv")
TEXTS = "text/librispeech-train-clean-100.txt.gz"
CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")


@dataclass(frozen=True)
class Row:
    """A line of a table, by ``COLUMNS``."""

    id: str
    path: str
    speaker: str
    text: str
    word_times: str = ""


def list_tables(data: Path) -> list[ListedUtterance]:
    """List the recorded speech of the tables that are there."""
    return [item for table in TABLES if (data / table).is_file() for item in list_table(data / table)]


def hold_out(listed: list[ListedUtterance], speakers: int, rng: np.random.Generator) -> set[str]:
    """Choose utterances whose speakers have no other; ids of speakers are those of LibriSpeech alone."""
    count = Counter(item.speaker for item in listed)
    single = sorted(item.id for item in listed if count[item.speaker] == 1)
    return set(rng.choice(single, size=min(speakers, len(single) // 2), replace=False).tolist())


def keep_wav(item: ListedUtterance, folder: Path) -> Row | None:
    """Decode an utterance once, so that no step of the training has to; None where it cannot be read."""
    path = folder / f"{item.id.replace('/', '_')}.wav"
    try:
        if not path.is_file():
            samples = read_audio(item.path)
            with swapped_in(path) as beside:
                write_audio(beside, samples)
    except DataError:
        return None
    return Row(item.id, str(path), item.speaker, " ".join(item.text.upper().split()))


def choose_words(lines: list[list[str]], rng: np.random.Generator) -> list[str]:
    """Choose some consecutive words of a transcript: one utterance in four has three at most."""
    words = lines[rng.integers(len(lines))]
    count = int(rng.integers(1, 4)) if rng.random() < 0.25 else int(rng.integers(4, 18))
    start = int(rng.integers(max(1, len(words) - count + 1)))
    return words[start : start + count]


def speak(job: tuple[int, list[str]], folder: Path, seed: int) -> Row | None:
    """Speak some words; None where espeak-ng merges words, so that their times are not known."""
    index, words = job
    name = f"espeak-{index:06d}"
    path, rng = folder / f"{name}.wav", np.random.default_rng([seed, index])
    variant = VARIANTS["train"][rng.integers(len(VARIANTS["train"]))]
    voice = Voice(
        name=f"{ACCENTS[rng.integers(len(ACCENTS))]}+{variant}", rate=int(rng.integers(120, 210)),
        pitch=int(rng.integers(25, 76)), pitch_range=int(rng.integers(20, 81)), word_gap=int(rng.integers(0, 4)),
    )  # fmt: skip
    samples, rate, spoken = speak_with_times(" ".join(words).lower(), voice)
    if [word.word.upper() for word in spoken] != words:
        return None
    samples = resample(samples, rate)
    with swapped_in(path) as beside:
        write_audio(beside, 0.6 * samples / max(1e-3, float(np.abs(samples).max())))
    ends = [min(word.end, following.start) for word, following in zip(spoken, [*spoken[1:], spoken[-1]], strict=True)]
    ends[-1] = spoken[-1].end
    spans = [(word.start, max(word.start, end)) for word, end in zip(spoken, ends, strict=True)]
    return Row(name, str(path), f"espeak-{variant}", " ".join(words), format_word_times(spans))


def write_table(rows: Iterable[Row], path: Path) -> None:
    """Write a table beside, then rename it."""
    with swapped_in(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE)
        writer.writerow(COLUMNS)
        writer.writerows([getattr(row, column) for column in COLUMNS] for row in rows)


def read_lines(data: Path, without: set[str]) -> list[list[str]]:
    """Read the texts to speak, but for those of utterances that are judged."""
    with gzip.open(data / TEXTS, "rt", encoding="utf-8") as file:
        split = [line.split() for line in file]
    return [words[1:] for words in split if words[0] not in without]


def usable(rows: Iterator[Row | None]) -> list[Row]:
    """Leave out what could not be read or spoken, and transcripts with other characters."""
    return [row for row in rows if row is not None and row.text and set(row.text) <= CHARACTERS]


def prepare(args: argparse.Namespace) -> None:
    """Write the audio and the three tables."""
    folders = {name: args.out / "audio" / name for name in ("real", "espeak")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(args.seed)
    native = list_librispeech(args.data / "LibriSpeech", "train-mini")
    listed = native + list_tables(args.data)
    test = list_librispeech(args.data / "LibriSpeech", "dev-mini")
    if args.utterances:
        native, listed, test = native[: args.utterances], listed[: args.utterances], test[: args.utterances]
    voices = list_folder(args.voices, ".") if args.voices else []
    apart = hold_out(native, args.dev_speakers, rng)
    lines = read_lines(args.data, apart | {item.id for item in test})
    jobs = [(index, choose_words(lines, rng)) for index in range(args.spoken)]
    wav, say = partial(keep_wav, folder=folders["real"]), partial(speak, folder=folders["espeak"], seed=args.seed)
    with multiprocessing.get_context("fork").Pool(args.processes) as pool:
        real = usable(track(pool.imap(wav, [*listed, *voices], 16), "decoding", len(listed) + len(voices), "files"))
        tested = usable(pool.imap(wav, test, 16))
        spoken = usable(track(pool.imap(say, jobs, 16), "speaking", len(jobs), "sentences"))
    write_table([row for row in real if row.id not in apart] + spoken, args.out / "train.tsv")
    write_table([row for row in real if row.id in apart], args.out / "dev.tsv")
    write_table(tested, args.out / "test.tsv")
    with swapped_in(args.out / "text.txt") as beside:
        beside.write_text("\n".join(map(" ".join, lines)) + "\n", encoding="utf-8")
    print(f"{len(real)} recorded and {len(spoken)} spoken utterances, {len(tested)} of test: {args.out}")


def main() -> None:
    """Read the command line and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with LibriSpeech, commonvoice, ... and text")
    parser.add_argument("--out", type=Path, default=Path("runs/english_teacher/data"), help="folder of the tables")
    parser.add_argument("--spoken", type=int, default=8000, help="sentences that espeak-ng speaks")
    parser.add_argument("--voices", type=Path, help="folder of other synthesizers' speech, audio beside .txt")
    parser.add_argument("--dev_speakers", type=int, default=30, help="speakers of train-mini that are held out")
    parser.add_argument("--utterances", type=int, default=0, help="recorded utterances to take; 0 for all")
    parser.add_argument("--processes", type=int, default=2, help="processes that decode and speak")
    parser.add_argument("--seed", type=int, default=1, help="seed of texts, voices and held-out speakers")
    args = parser.parse_args()
    args.out = args.out.absolute()
    prepare(args)


if __name__ == "__main__":
    with plain_errors():
        main()
