"""Manifests of corpora in shards: every shard is read once from its start to its end, and its utterances are checked.

A manifest has one gzip member a shard, so that it is one manifest of lhotse's and any shard's cuts can be read alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from lhotse.cut import Cut

from bigfoot.data.cuts import write_shard_manifest
from bigfoot.data.manifests import (
    ListedUtterance,
    PreparedData,
    SkippedUtterance,
    check_each,
    refuse_empty,
    save_prepared,
)
from bigfoot.data.settings import DataConfig
from bigfoot.data.shards.formats import FORMATS, Shard, ShardFormat
from bigfoot.data.sources import SOURCES_FILE, Source, write_sources
from bigfoot.errors import DataError
from bigfoot.progress import track
from bigfoot.storage.digests import FileDigests, digest_file
from bigfoot.storage.places import is_remote


def find_shard_root(config: DataConfig) -> str:
    """Return the folder of a corpus in shards: an address stays one, nothing is copied.

    Args:
        config: ``root`` names it, or ``$BIGFOOT_DATA``.

    Raises:
        DataError: neither is set, or there is no such folder.
    """
    root = config.root or os.environ.get("BIGFOOT_DATA")
    if not root or not (is_remote(root) or Path(root).is_dir()):
        raise DataError(f"data.root: {root or 'needed'}; set it to the folder or address of the shards' splits")
    return root if is_remote(root) else str(Path(root).absolute())


def prepare_shards(
    config: DataConfig, splits: dict[str, list[str]], folder: Path, characters: Collection[str] | None,
    digests: FileDigests,
) -> PreparedData:  # fmt: skip
    """Write what ``prepare_data`` writes, for a corpus in shards; in the order of the shards.

    Args:
        config: which corpus.
        splits: the corpus's own names of the parts of train, dev and test.
        folder: of the manifests.
        characters: what transcripts may hold; None for anything.
        digests: of files on this machine.

    Returns:
        Manifests by split, what was left out and why, hours and counts.

    Raises:
        DataError: there are no shards, one is damaged, or a split has nothing usable.
    """
    prepared = PreparedData(folder, manifests={}, skipped=[], hours={}, num_utterances={})
    form, sources = FORMATS[config.corpus], list[Source]()
    for split, names in splits.items():
        if not names:
            continue
        shards = _find_shards(form, config, names)
        checking = _Checking(form, split, config, characters)
        path = prepared.manifests[split] = folder / f"cuts_{split}.jsonl.gz"
        tracked = track(shards, f"reading {split}", unit="shards")
        write_shard_manifest(((shard.place, checking.check(shard)) for shard in tracked), path)
        prepared.skipped.extend(checking.skipped)
        refuse_empty(checking.count, split, checking.skipped)
        prepared.hours[split], prepared.num_utterances[split] = checking.seconds / 3600, checking.count
        prepared.files[path.name] = digest_file(path)
        prepared.contents[split], prepared.audio[split] = checking.digests()
        sources += shard_sources(split, shards, digests)
    prepared.files[SOURCES_FILE] = write_sources(sources, folder)
    save_prepared(prepared)
    return prepared


def list_shard_sources(config: DataConfig, splits: dict[str, list[str]], digests: FileDigests) -> list[Source]:
    """Describe the shards of a corpus as they are now.

    Args:
        config: which corpus.
        splits: see ``prepare_shards``.
        digests: of files on this machine.

    Raises:
        DataError: there are no shards.
    """
    form = FORMATS[config.corpus]
    return [
        source for split, names in splits.items() if names
        for source in shard_sources(split, _find_shards(form, config, names), digests)
    ]  # fmt: skip


def _find_shards(form: ShardFormat, config: DataConfig, names: Iterable[str]) -> list[Shard]:
    root = find_shard_root(config)
    return [shard for name in names for shard in form.find(root, name)]


def shard_sources(split: str, shards: Iterable[Shard], digests: FileDigests) -> Iterator[Source]:
    """Describe shards: those on this machine by content, others by what their place names.

    Args:
        split: ``train``, ``dev`` or ``test``.
        shards: of it.
        digests: of files on this machine.
    """
    for shard in shards:
        here = [each for each in (shard.place, shard.cuts) if each is not None and not is_remote(each)]
        content = " ".join(map(digests.digest, here)) if here else shard.identity
        yield Source(split, shard.place, "", content)


class _Checking:
    """Checks the utterances of a split, and adds them up.

    Args:
        form: of the shards.
        split: ``train``, ``dev`` or ``test``.
        config: see ``prepare_shards``.
        characters: likewise.
    """

    def __init__(self, form: ShardFormat, split: str, config: DataConfig, characters: Collection[str] | None) -> None:
        self._form, self._split, self._config, self._characters = form, split, config, characters
        self._seen: set[str] = set()
        self._content, self._whole, self._audio = "", hashlib.sha256(), hashlib.sha256()
        self.skipped: list[SkippedUtterance] = []
        self.count, self.seconds = 0, 0.0

    def digests(self) -> tuple[str, str]:
        """Return the digests of all, and of the audio alone; the place does not count."""
        return self._whole.hexdigest()[:16], self._audio.hexdigest()[:16]

    def check(self, shard: Shard) -> Iterator[Cut]:
        """Read a shard; yield the cuts of what can be used."""
        with tempfile.TemporaryDirectory() as folder:
            listed = self._list(shard, Path(folder))
            verify = self._config.verify_audio
            for found in check_each(listed, self._split, self._config, self._characters, verify, self._seen):
                if isinstance(found, SkippedUtterance):
                    self.skipped.append(found)
                    continue
                self._add(found)
                yield found

    def _add(self, cut: Cut) -> None:
        self.count, self.seconds = self.count + 1, self.seconds + cut.duration
        facts = cut.to_dict()
        facts.pop("custom", None)
        facts["recording"].pop("sources")
        self._whole.update(json.dumps([facts, self._content], sort_keys=True).encode())
        self._audio.update(json.dumps([cut.id, cut.start, cut.duration, self._content]).encode())

    def _list(self, shard: Shard, folder: Path) -> Iterator[ListedUtterance]:
        """Utterances whose audio lies in a file until the next is asked for."""
        for number, item in enumerate(self._form.scan(shard, self._config)):
            # A name of its own: what is known of a file is known by its name, size and time.
            file = folder / str(number)
            file.write_bytes(item.content)
            self._content = hashlib.sha256(item.content).hexdigest()
            yield ListedUtterance(
                item.id, file, item.text, item.speaker, item.problem, item.stretch, item.labels,
                address=str(item.address),
            )  # fmt: skip
            file.unlink()
