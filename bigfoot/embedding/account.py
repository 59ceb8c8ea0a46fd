"""The account of a folder's embeddings: recordings and seconds used and left out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bigfoot.audio.account import Account, LeftOut
from bigfoot.audio.files import read_header
from bigfoot.data.pairs import Pair
from bigfoot.embedding.store import index_of
from bigfoot.errors import AudioError
from bigfoot.types import Seconds


def read_account(output: Path, pairs: Sequence[Pair]) -> Account:
    """Read what was used of a folder from the index of its embeddings.

    Args:
        output: the safetensors file.
        pairs: recordings of the folder.

    Returns:
        A row for each recording; the pieces of one that failed in between are used seconds, its rest is left out.
    """
    seconds: dict[str, Seconds] = {}
    # Names that had to be escaped may be equal.
    problems: list[tuple[str, str]] = []
    with index_of(output).open(encoding="utf-8") as file:
        for row in map(json.loads, file):
            if "problem" in row:
                problems.append((row["name"], row["problem"]))
            else:
                seconds[row["name"]] = seconds.get(row["name"], 0.0) + row["end"] - row["start"]
    failed = {name for name, _ in problems}
    lengths = {pair.name: _length_of(pair.audio) for pair in pairs if pair.name in failed}
    left_out = [
        LeftOut(name, reason, None if (length := lengths.get(name)) is None else length - seconds.get(name, 0.0))
        for name, reason in problems
    ]
    return Account(len(seconds.keys() - failed), sum(seconds.values()), left_out)


def _length_of(path: Path) -> Seconds | None:
    with suppress(AudioError):
        return read_header(path).seconds
    return None
