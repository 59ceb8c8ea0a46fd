"""Libri-Light (Kahn et al., 2020): audiobooks without transcripts, cut where nobody speaks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from bigfoot.data.manifests import ListedUtterance
from bigfoot.data.stretches import Stretch
from bigfoot.errors import DataError
from bigfoot.types import Seconds


def list_librilight(root: Path, split: str, max_seconds: Seconds) -> list[ListedUtterance]:
    """List a part as stretches of speech.

    A chapter is a file of minutes, with its speaker and its voice activity beside it, ``SPEAKER/BOOK/NAME.flac``::

        {"speaker": "100", "voice_activity": [[0.48, 7.12], [7.9, 15.6]], "book_meta": {...}, "snr": 9.8}

    Neighbouring activities are joined up to ``max_seconds``, as by the corpus's own ``cut_by_vad.py``; one that is
    longer is cut into equal pieces. There are no transcripts: ``data.transcripts: none`` takes the teacher's.

    Args:
        root: the folder of the parts.
        split: ``small``, ``medium``, ``large`` or ``duplicate``.
        max_seconds: of a stretch.

    Returns:
        The stretches by file and time; a file without readable activity has a ``problem``.

    Raises:
        DataError: there is no such part.
    """
    folder = root / split
    if not folder.is_dir():
        there = ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())) or "no folder at all"
        raise DataError(f"data: no part {split} of Libri-Light in {root} (there: {there})")
    return [item for path in sorted(folder.rglob("*.flac")) for item in _list_file(path, root, max_seconds)]


def _list_file(path: Path, root: Path, max_seconds: Seconds) -> Iterator[ListedUtterance]:
    name, facts = path.relative_to(root).with_suffix("").as_posix(), path.with_suffix(".json")
    try:
        content = json.loads(facts.read_bytes())
        speaker = str(content["speaker"])
        activities = [(float(start), float(end)) for start, end in content["voice_activity"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        problem = f"its {facts.name} names no speaker and voice_activity ({type(error).__name__})"
        yield ListedUtterance(name, path, "", "", problem)
        return
    for number, (start, end) in enumerate(join_activities(activities, max_seconds)):
        yield ListedUtterance(f"{name}_{number}", path, "", speaker, None, Stretch(start, end - start))


def join_activities(
    activities: Sequence[tuple[Seconds, Seconds]], max_seconds: Seconds
) -> list[tuple[Seconds, Seconds]]:
    """Join stretches of speech with the pauses between them, up to a length.

    Args:
        activities: start and end of each, in order.
        max_seconds: of a result.

    Returns:
        Start and end of each.

    Examples:
        >>> join_activities([(0.0, 4.0), (5.0, 9.0), (9.5, 12.0), (20.0, 44.0)], 12.0)
        [(0.0, 12.0), (20.0, 32.0), (32.0, 44.0)]
    """
    joined: list[tuple[Seconds, Seconds]] = []
    for start, end in activities:
        if joined and end - joined[-1][0] <= max_seconds:
            joined[-1] = (joined[-1][0], end)
            continue
        pieces = max(1, -int((start - end) // max_seconds))
        edges = [start + (end - start) * number / pieces for number in range(pieces + 1)]
        joined += pairwise(edges)
    return joined
