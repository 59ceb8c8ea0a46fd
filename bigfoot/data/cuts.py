"""Manifests of cuts, written whole and read lazily; audio that was generated beside one is found there again."""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby, islice
from pathlib import Path

from lhotse import CutSet, SupervisionSegment
from lhotse.cut import Cut

from bigfoot.data.shards.address import Address
from bigfoot.data.word_times import WORD_TIMES
from bigfoot.errors import DataError
from bigfoot.storage.ownership import OWN_OR_EDITED
from bigfoot.storage.replace import replacing

LABELS_FIELD = "labels"
"""Field of a supervision: labels of tasks by name."""
HYPOTHESES_FIELD = "hypotheses"
"""Custom field of a supervision: another model's texts with their log probabilities."""
_BESIDE = "beside"
"""Field of a cut: where its audio lies, relative to the folder of the manifest, so that both can be moved together."""


def path_of(cut: Cut) -> str:
    """Return the audio file of a cut.

    Args:
        cut: of one recording.
    """
    return str(cut.recording.sources[0].source)


def write_manifest(cuts: Iterable[Cut], path: Path, home: Path | None = None) -> None:
    """Write cuts as a lhotse manifest that is either whole or not there.

    Args:
        cuts: in the order in which they are to stand; gone through once, while they are written.
        path: ending in ``.jsonl.gz``.
        home: audio below this folder is found again where it and the manifest are moved or copied together.
    """
    given = iter(cuts)
    first = list(islice(given, 1))
    one_by_one = chain(first, given)
    if first and (address := Address.parse(path_of(first[0]))) is not None:
        shards = groupby(one_by_one, key=lambda cut: (Address.parse(path_of(cut)) or address).shard)
        write_shard_manifest(shards, path)
        return
    with replacing(path, may=OWN_OR_EDITED, is_own=_is_prepared, wait=math.inf) as part:
        CutSet(_place_beside(cut, path, home) for cut in one_by_one).to_file(part)


def _place_beside(cut: Cut, path: Path, home: Path | None) -> Cut:
    """Note where a cut's audio lies as seen from the manifest, where both are below a folder."""
    source, kept = Path(path_of(cut)), {key: value for key, value in (cut.custom or {}).items() if key != _BESIDE}
    if home is not None and all(each.is_relative_to(home.absolute()) for each in (source, path.absolute())):
        kept[_BESIDE] = os.path.relpath(source, path.parent)
    cut.custom = kept or None
    return cut


def write_relabelled(manifest: Path, texts: Mapping[str, str], path: Path) -> None:
    """Write a manifest with other transcripts, one cut after the other.

    Args:
        manifest: to read; left as it is.
        texts: transcripts by id; an utterance that is absent gets an empty one.
        path: of the new manifest, ending in ``.jsonl.gz``.
    """

    def relabel(supervision: SupervisionSegment, name: str) -> SupervisionSegment:
        text, custom = texts.get(name, ""), supervision.custom
        labels = dict((custom or {}).get(LABELS_FIELD, {}))
        # They are of the words that were given.
        if text != supervision.text and labels.pop(WORD_TIMES, None) is not None:
            custom = {key: value for key, value in (custom or {}).items() if key != LABELS_FIELD}
            custom = custom | ({LABELS_FIELD: labels} if labels else {}) or None
        return dataclasses.replace(supervision, text=text, custom=custom)

    write_manifest(_with_supervisions(manifest, relabel), path, home=manifest.parent)


def write_hypotheses(manifest: Path, found: Mapping[str, Sequence[tuple[str, float]]], path: Path) -> None:
    """Write a manifest with a model's most probable texts beside the transcripts, one cut after the other.

    Args:
        manifest: to read; left as it is.
        found: texts with their log probabilities, by id, the most probable first; none for an utterance that is absent.
        path: of the new manifest, ending in ``.jsonl.gz``.
    """

    def add(supervision: SupervisionSegment, name: str) -> SupervisionSegment:
        custom = (supervision.custom or {}) | {HYPOTHESES_FIELD: [list(each) for each in found.get(name, ())]}
        return dataclasses.replace(supervision, custom=custom)

    write_manifest(_with_supervisions(manifest, add), path, home=manifest.parent)


def _with_supervisions(
    manifest: Path, change: Callable[[SupervisionSegment, str], SupervisionSegment]
) -> Iterator[Cut]:
    for cut in read_cuts(manifest):
        cut.supervisions = [change(cut.supervisions[0], cut.id)]
        yield cut


def write_shard_manifest(shards: Iterable[tuple[str, Iterable[Cut]]], path: Path) -> None:
    """Write cuts of shards as a lhotse manifest with a gzip member a shard, whole or not there.

    Args:
        shards: place and cuts of each; the cuts are gone through once, while they are written.
        path: ending in ``.jsonl.gz``.
    """
    with replacing(path, may=OWN_OR_EDITED, is_own=_is_prepared, wait=math.inf) as part:
        part.write_bytes(b"")
        for _, cuts in shards:
            # No time in the member's head: the same cuts give the same file.
            with part.open("ab") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as member:
                for cut in cuts:
                    member.write(json.dumps(cut.to_dict(), ensure_ascii=False).encode() + b"\n")


def _is_prepared(path: Path) -> bool:
    """Return whether a file lies beside the outputs of preparation or labelling of an earlier version."""
    return any(path.with_name(name).is_file() for name in ("prepared.json", "labels.json"))


def read_cuts(manifest: str | Path) -> CutSet:
    """Read a manifest, a line at a time whenever it is gone through.

    Args:
        manifest: of ``write_manifest``, or any of lhotse's with cuts of one recording each.

    Returns:
        Its cuts, lazily. Going through it raises ``DataError`` where the file is damaged.

    Raises:
        DataError: the manifest is missing.
    """
    path = Path(manifest)
    if not path.is_file():
        raise DataError(f"no manifest {path}; prepare the data first")
    return CutSet(_Cuts(path))


def is_in_shards(manifest: str | Path) -> bool:
    """Return whether the audio of a manifest lies in shards.

    Args:
        manifest: see ``read_cuts``.

    Raises:
        DataError: it is missing or damaged.
    """
    first = next(iter(read_cuts(manifest)), None)
    return first is not None and Address.parse(path_of(first)) is not None


class _Cuts:
    """Iterate over the cuts of a manifest, from the first each time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Cut]:
        cuts: Iterable[Cut] = CutSet.from_jsonl_lazy(self._path)
        found = iter(cuts)
        while True:
            try:
                cut = next(found)
                self._resolve(cut)
            except StopIteration:
                return
            # A file that was cut off ends in an EOFError; a changed bit may give anything.
            except Exception as error:
                raise DataError(f"{self._path}: a damaged manifest ({error!r}); prepare the data again") from error
            yield cut

    def _resolve(self, cut: Cut) -> None:
        beside = (cut.custom or {}).get(_BESIDE)
        if beside is not None:
            cut.recording.sources[0].source = os.path.normpath(self._path.absolute().parent / beside)
