"""Lines of text, plain, packed or in a run's manifest, to learn pieces and language models from."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

from bigfoot.errors import DataError
from bigfoot.storage.remote import fetch

# Lines of LibriSpeech's lists of transcripts start with the name of the utterance: 103-1240-0000 CHAPTER ONE ...
_UTTERANCE_ID = re.compile(r"^\d+-\d+-\d+ ")


def read_lines(path: str | Path) -> Iterator[str]:
    """Read the lines of a text file; names of utterances at their beginning, as LibriSpeech's, are left out.

    Args:
        path: UTF-8, or the same in a ``.gz``, in the cloud too; of a manifest (``cuts_train.jsonl.gz``), the
            transcripts.

    Yields:
        Lines as they stand, without empty ones.

    Raises:
        DataError: the file is missing, or no text.
    """
    path = fetch(path).expanduser()
    if not path.is_file():
        raise DataError(f"{path}: no such text file")
    is_manifest = ".jsonl" in path.suffixes
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for line in file:
                transcript = _read_transcript(line) if is_manifest else line
                if text := _UTTERANCE_ID.sub("", transcript.strip(), count=1):
                    yield text
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{path}: no UTF-8 text ({error})") from error
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(f"{path}: no manifest of utterances ({error!r})") from error


def _read_transcript(line: str) -> str:
    return str(json.loads(line)["supervisions"][0].get("text") or "")
