"""Formats of shards: which files of a folder are shards, and which utterances one holds, read from start to end."""

from __future__ import annotations

import gzip
import json
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Any

from bigfoot.audio.folders import READABLE
from bigfoot.data.cuts import LABELS_FIELD
from bigfoot.data.manifests import UNKNOWN_SPEAKER
from bigfoot.data.settings import ALL_LABELS, DataConfig
from bigfoot.data.shards.address import Address
from bigfoot.data.shards.columns import AUDIO, audio_bytes, open_rows
from bigfoot.data.stretches import Stretch
from bigfoot.errors import DataError
from bigfoot.storage.files import join_place, list_files, opened

_TEXTS = ("text", "transcript", "sentence", "transcription", "normalized_text")
_SPEAKERS = ("speaker", "client_id", "speaker_id")


@dataclass(frozen=True)
class Shard:
    """A shard.

    Args:
        place: path or URL of the file that holds the audio.
        identity: what tells that it was changed.
        cuts: of lhotse's Shar, the manifest beside it.
    """

    place: str
    identity: str
    cuts: str | None = None


@dataclass(frozen=True)
class ShardItem:
    """An utterance of a shard.

    Args:
        id: unique in its split.
        address: where its audio lies.
        content: of its audio file.
        text: the transcript as written.
        speaker: who speaks.
        labels: of tasks, by name.
        stretch: the part of the audio that it is; None for the whole.
        problem: why it cannot be used.
    """

    id: str
    address: Address
    content: bytes
    text: str = ""
    speaker: str = UNKNOWN_SPEAKER
    labels: Mapping[str, str] = field(default_factory=dict)
    stretch: Stretch | None = None
    problem: str | None = None


@dataclass(frozen=True)
class ShardFormat:
    """A format of shards.

    Args:
        find: from the root and the name of a split to its shards.
        scan: reads a shard.
    """

    find: Callable[[str, str], list[Shard]]
    scan: Callable[[Shard, DataConfig], Iterator[ShardItem]]


def _find_shar(root: str, split: str) -> list[Shard]:
    """``cuts.000000.jsonl.gz`` beside ``recording.000000.tar``."""
    folder = join_place(root, split)
    files = list_files(folder)
    shards = []
    for name, identity in files.items():
        number = re.fullmatch(r"recording(\..*)?\.tar", name)
        if number is None:
            continue
        cuts = next((each for end in (".gz", "") if (each := f"cuts{number[1] or ''}.jsonl{end}") in files), None)
        if cuts is None:
            raise DataError(f"data: {join_place(folder, name)} has no cuts beside it; copy the folder again")
        place = join_place(folder, name)
        shards.append(Shard(place, f"{identity} {files[cuts]}", join_place(folder, cuts)))
    return _some(shards, folder, "recording.000000.tar")


def _find_files(suffixes: tuple[str, ...], root: str, split: str) -> list[Shard]:
    """Return the files of a folder, or those of a pattern such as ``train-*.tar``, or that begin with the split."""
    folder, _, pattern = split.rpartition("/") if "*" in split else (split, "", "*")
    shards = _match(join_place(root, folder or "."), pattern, suffixes)
    if not shards and "*" not in split:
        for place in (root, join_place(root, "data")):
            shards = shards or _match(place, f"{split}-*", suffixes) or _match(place, f"{split}.*", suffixes)
    return _some(shards, join_place(root, split), " or ".join(f"*{suffix}" for suffix in suffixes))


def _match(folder: str, pattern: str, suffixes: tuple[str, ...]) -> list[Shard]:
    files = list_files(folder).items()
    return [Shard(join_place(folder, name), identity) for name, identity in files
            if fnmatch(name, pattern) and name.endswith(suffixes)]  # fmt: skip


def _some(shards: list[Shard], place: str, expected: str) -> list[Shard]:
    if not shards:
        raise DataError(f"data: no shards at {place}; expected files such as {expected}")
    return shards


def _read_tar(place: str) -> Iterator[tuple[str, Address, bytes]]:
    """Names, addresses and contents of the files in a tar file."""
    try:
        with opened(place) as file, tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                if member.isfile():
                    content = tar.extractfile(member)
                    assert content is not None
                    yield member.name, Address(place, member.offset_data, member.size), content.read()
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"data: {place} is damaged ({error}); copy it again") from error


def _scan_shar(shard: Shard, _config: DataConfig) -> Iterator[ShardItem]:
    assert shard.cuts is not None
    audio = ((name, address, content) for name, address, content in _read_tar(shard.place)
             if not name.endswith((".json", ".nometa")))  # fmt: skip
    for cut in _read_lines(shard.cuts):
        name, address, content = next(audio, ("", Address(shard.place, 0), b""))
        if str(PurePosixPath(name).with_suffix("")) != cut["id"]:
            raise DataError(f"data: {shard.place} has {name!r} where {shard.cuts} has {cut['id']!r}; copy them again")
        spoken = cut.get("supervisions") or [{}]
        labels = (spoken[0].get("custom") or {}).get(LABELS_FIELD, {})
        speaker = str(spoken[0].get("speaker") or UNKNOWN_SPEAKER)
        problem = "has no recording" if name.endswith(".nodata") else None
        yield ShardItem(
            cut["id"], address, content, " ".join(each.get("text") or "" for each in spoken).strip(), speaker, labels,
            Stretch(cut.get("start", 0.0), cut["duration"]), problem,
        )  # fmt: skip


def _read_lines(place: str) -> Iterator[dict[str, Any]]:
    try:
        with opened(place) as file:
            lines = gzip.GzipFile(fileobj=file) if place.endswith(".gz") else file
            yield from map(json.loads, lines)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"data: {place} is damaged ({error}); copy it again") from error


def _scan_webdataset(shard: Shard, config: DataConfig) -> Iterator[ShardItem]:
    """Files of one key, which ends at the first dot of a name, follow each other: ``a/1.flac``, ``a/1.json``."""
    key, found = "", dict[str, tuple[Address, bytes]]()
    for name, address, content in _read_tar(shard.place):
        folder, slash, base = name.rpartition("/")
        stem, _, end = base.partition(".")
        if f"{folder}{slash}{stem}" != key:
            yield from _join_files(shard, key, found, config)
            key, found = f"{folder}{slash}{stem}", {}
        found[f".{end.lower()}"] = (address, content)
    yield from _join_files(shard, key, found, config)


def _join_files(
    shard: Shard, key: str, found: Mapping[str, tuple[Address, bytes]], config: DataConfig
) -> Iterator[ShardItem]:
    audio = next((end for end in found if PurePosixPath(end).suffix in READABLE or end in READABLE), None)
    if not found:
        return
    name = f"{PurePosixPath(shard.place).stem}/{key}"
    if audio is None:
        first = next(iter(found.values()))[0]
        yield ShardItem(name, first, b"", problem=f"no audio beside {', '.join(found)}")
        return
    values: dict[str, Any] = {}
    try:
        values = json.loads(found[".json"][1]) if ".json" in found else {}
        if ".txt" in found:
            values = {"text": found[".txt"][1].decode("utf-8-sig"), **values}
    except ValueError as error:
        yield ShardItem(name, *found[audio], problem=f"its text cannot be read ({error})")
        return
    yield _name_values(ShardItem(name, *found[audio]), values, config)


def _scan_rows(shard: Shard, config: DataConfig) -> Iterator[ShardItem]:
    stem = PurePosixPath(shard.place).stem
    for number, row in open_rows(shard.place, config.columns.get("path")):
        name = str(row.get(config.columns.get("id", "id")) or f"{stem}-{number:07d}")
        address = Address(shard.place, number, column=config.columns.get("path"))
        try:
            item = ShardItem(name, address, audio_bytes(row))
        except DataError as error:
            yield ShardItem(name, address, b"", problem=str(error))
            continue
        yield _name_values(item, {key: value for key, value in row.items() if key != AUDIO}, config)


def _name_values(item: ShardItem, values: Mapping[str, Any], config: DataConfig) -> ShardItem:
    """Take transcript, speaker and labels from values by name."""

    def choose(use: str, usual: tuple[str, ...]) -> str | None:
        names = (config.columns[use],) if use in config.columns else usual
        return next((str(values[name]) for name in names if values.get(name) is not None), None)

    text = choose("text", _TEXTS)
    missing = text is None and config.transcripts != "none"
    others = [name for name in values if name not in (*_TEXTS, *_SPEAKERS)]
    labels = {name: choose(name, (name,)) for name in (others if ALL_LABELS in config.labels else config.labels)}
    return replace(
        item, text=text or "", speaker=choose("speaker", _SPEAKERS) or UNKNOWN_SPEAKER,
        labels={name: value for name, value in labels.items() if value},
        problem=f"has no text (there: {', '.join(values) or 'nothing'}); see data.columns" if missing else None,
    )  # fmt: skip


FORMATS = {
    "shar": ShardFormat(_find_shar, _scan_shar),
    "webdataset": ShardFormat(lambda root, split: _find_files((".tar",), root, split), _scan_webdataset),
    "datasets_streaming": ShardFormat(lambda root, split: _find_files((".parquet", ".arrow"), root, split), _scan_rows),
}
"""By ``data.corpus``."""
