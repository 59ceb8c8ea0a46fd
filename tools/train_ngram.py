"""Make an n-gram language model (ARPA) out of a text file.

    python tools/train_ngram.py TEXT OUT.arpa --order 3 [--without runs/demo/data/cuts_test.jsonl.gz]

TEXT has a sentence a line, plain or .gz; LibriSpeech's `ID TEXT` lines are understood, and so are a run's manifests
(runs/demo/data/cuts_train.jsonl.gz), of which the transcripts are taken. KenLM's `lmplz` does the work
where it is installed, else a small interpolated Kneser-Ney of our own, which holds everything in memory.

A model that has read what it is tested on makes every error rate worthless. --without takes a file of the same kinds,
whose sentences are left out: LibriSpeech's texts hold those of every part that was cut out of it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from bigfoot.errors import BigfootError, plain_errors
from bigfoot.storage.ownership import MayReplace, check_file
from bigfoot.storage.replace import replacing
from bigfoot.text.lines import read_lines
from bigfoot.text.ngram import read_arpa_words, train_ngram, write_arpa
from bigfoot.text.normalize import drop_silent_marks, normalize_text


def _read(path: str, case: str) -> list[str]:
    lines = (" ".join(drop_silent_marks(normalize_text(line)).split()) for line in read_lines(path))
    change = {"upper": str.upper, "lower": str.lower, "keep": str}[case]
    return [change(line) for line in lines]


def _run_lmplz(texts: list[str], out: Path, order: int, may: MayReplace) -> None:
    # Without the fallback lmplz refuses small texts, in which no n-gram was seen three times.
    command = ["lmplz", "--order", str(order), "--discount_fallback"]
    with replacing(out, may=may) as beside, beside.open("w", encoding="utf-8") as file:
        subprocess.run(command, input="\n".join(texts), text=True, stdout=file, check=True)


def main(arguments: list[str] | None = None) -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text")
    parser.add_argument("out", type=Path)
    parser.add_argument("--order", type=int, default=3, help="words of the longest n-gram (3)")
    parser.add_argument("--case", choices=("upper", "lower", "keep"), default="upper", help="of the words (upper)")
    parser.add_argument("--without", nargs="+", default=[], help="files of sentences to leave out")
    parser.add_argument("--own", action="store_true", help="our own estimate even where lmplz is installed")
    parser.add_argument("--force", action="store_true", help="also replace what was not written by this tool")
    given = parser.parse_args(arguments)
    if given.order < 2:
        parser.error(f"--order must be 2 or more, for KenLM reads no less; got {given.order}")
    may = MayReplace(given.force, inputs=[given.text, *given.without], report=lambda line: print(line, file=sys.stderr))
    try:
        check_file(given.out, replace(may, report=lambda _: None))
        left_out = {line for path in given.without for line in _read(path, given.case)}
        read = _read(given.text, given.case)
        texts = [line for line in read if line not in left_out]
        by_lmplz = not given.own and shutil.which("lmplz") is not None
        if by_lmplz:
            _run_lmplz(texts, given.out, given.order, may)
        else:
            write_arpa(train_ngram(texts, given.order), given.out, may)
        words = len(read_arpa_words(given.out))
    except (BigfootError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"train_ngram: {error}")
    by = "KenLM's lmplz" if by_lmplz else "interpolated Kneser-Ney"
    print(f"{given.out}: {given.order}-grams of {words:,} words from {len(texts):,} lines, {by}")
    if given.without:
        print(f"{len(read) - len(texts):,} lines were left out, since they stand in {', '.join(given.without)}")


if __name__ == "__main__":
    with plain_errors():
        main()
