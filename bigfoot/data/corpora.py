"""Prepare checked lhotse manifests of the train, dev and test splits of a corpus."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bigfoot.audio.files import write_audio
from bigfoot.data.augment import stable_seed
from bigfoot.data.cuts import write_manifest
from bigfoot.data.manifests import (
    ListedUtterance,
    PreparedData,
    SkippedUtterance,
    check_utterances,
    load_prepared,
    save_prepared,
)
from bigfoot.data.registry import Corpus, OnBad, find_corpus, resolve_root
from bigfoot.data.settings import ALL_LABELS, DataConfig
from bigfoot.data.shards.prepare import list_shard_sources, prepare_shards
from bigfoot.data.sources import (
    DIGESTS_FILE,
    SOURCES_FILE,
    Source,
    describe_changes,
    digest_cuts,
    file_sources,
    list_sources,
    look_again,
    made_sources,
    read_sources,
    write_sources,
)
from bigfoot.data.splits import hold_out_speakers, make_splits
from bigfoot.data.utterance import Utterance
from bigfoot.data.word_times import WORD_TIMES
from bigfoot.errors import AudioError, DataError
from bigfoot.progress import track
from bigfoot.storage.digests import FileDigests, digest_file
from bigfoot.storage.ownership import Earlier, claim_folder
from bigfoot.storage.replace import remove_leftovers, swapped_in
from bigfoot.text.normalize import describe_normalization, drop_silent_marks

__all__ = ["PreparedData", "SkippedUtterance", "load_prepared", "prepare_data", "resolve_root"]

log = logging.getLogger("bigfoot")

SPLITS = ("train", "dev", "test")


def prepare_data(
    config: DataConfig, seed: int, folder: str | Path, characters: Collection[str] | None = None
) -> PreparedData:
    """Write ``cuts_train.jsonl.gz``, ``cuts_dev.jsonl.gz``, ``cuts_test.jsonl.gz`` and ``prepared.json`` in a folder.

    Generated speech (synthetic_digits, fsdd) is written below it as FLAC; other corpora stay where they are. Train is
    in a shuffled order, since lhotse's buffer holds a part of a big corpus only; dev and test keep the corpus's.
    ``sources.jsonl.gz`` and ``digests.jsonl.gz`` record what they were made of, for ``find_changes``.

    Args:
        config: which corpus, which splits, and what is done with bad files.
        seed: of generated speech, held-out speakers and train's order.
        folder: made where missing.
        characters: what transcripts may hold, such as ``CharTokenizer.characters``; None for anything.

    Returns:
        Manifests by split, what was left out and why, hours and counts.

    Raises:
        DataError: a folder, table or split is missing or has nothing usable; bad files or transcripts with
            ``on_bad_audio: raise``.
        MissingExtraError: synthetic_digits without the extra ``[synthetic]``.

    Examples:
        >>> import tempfile
        >>> config = DataConfig(num_train=3, num_dev=0, num_test=2)
        >>> prepared = prepare_data(config, seed=0, folder=tempfile.mkdtemp())
        >>> prepared.num_utterances, prepared.skipped
        ({'train': 3, 'test': 2}, [])
    """
    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    prepared = PreparedData(folder, manifests={}, skipped=[], hours={}, num_utterances={})
    corpus, digests = find_corpus(config), FileDigests(folder / DIGESTS_FILE)
    if corpus.is_sharded:
        prepared = prepare_shards(config, _split_names(config), folder, characters, digests)
        digests.save()
        return prepared
    if corpus.generate is None:
        splits = _list_splits(corpus, config, seed, characters, folder)
        _warn_of_overlap(splits)
    else:
        splits = _write_splits(corpus.generate, config, seed, folder, prepared.skipped)
    if not splits:
        hint = "data.train_splits, data.dev_splits or data.test_splits ([.] takes all of a folder)"
        raise DataError(f"data: no split is asked for; set {hint}")
    _refuse_moved_times(config, splits)
    sources: list[Source] = []
    for split, listed in splits.items():
        # What bigfoot has just written needs no second decoding.
        verify = config.verify_audio and corpus.generate is None
        cuts, skipped = check_utterances(listed, split, config, characters, verify)
        if split == "train":
            np.random.default_rng(stable_seed(seed, "train order")).shuffle(cuts)  # type: ignore[arg-type]
        prepared.skipped.extend(skipped)
        prepared.manifests[split] = folder / f"cuts_{split}.jsonl.gz"
        prepared.hours[split] = sum(cut.duration for cut in cuts) / 3600
        prepared.num_utterances[split] = len(cuts)
        write_manifest(cuts, prepared.manifests[split], home=folder)
        prepared.files[prepared.manifests[split].name] = digest_file(prepared.manifests[split])
        sources += _split_sources(corpus, config, split, listed, folder, digests)
        known = None if config.trust_files and corpus.generate is None else digests
        prepared.contents[split], prepared.audio[split] = digest_cuts(cuts, known)
    prepared.files[SOURCES_FILE] = write_sources(sources, folder)
    digests.save()
    save_prepared(prepared)
    return prepared


def _refuse_moved_times(config: DataConfig, splits: Mapping[str, Sequence[ListedUtterance]]) -> None:
    timed = any(WORD_TIMES in item.labels for listed in splits.values() for item in listed)
    if config.trim_silence_db is not None and timed:
        raise DataError(f"data.trim_silence_db: it moves the start of utterances that have {WORD_TIMES}; leave it out")


def find_changes(
    config: DataConfig, seed: int, prepared: PreparedData, characters: Collection[str] | None, splits: Collection[str]
) -> list[str]:
    """List what has changed in a corpus since its manifests were made.

    The corpus is listed again, and its files are compared by size and times; those that differ, by their content.

    Args:
        config: as given to ``prepare_data``. With ``trust_files`` only the listing is compared.
        seed: likewise.
        prepared: what it returned.
        characters: likewise.
        splits: that are compared.

    Returns:
        A few words for each kind of change; none where nothing has changed.

    Raises:
        DataError: the corpus cannot be listed any more.
    """
    before = read_sources(prepared.folder)
    if before is None:
        return [f"{SOURCES_FILE} is damaged"]
    corpus, digests = find_corpus(config), FileDigests(prepared.folder / DIGESTS_FILE)
    now: list[Source] = []
    if corpus.is_sharded:
        now = list_shard_sources(config, _split_names(config), digests)
    elif corpus.generate is None:
        for split, listed in _list_splits(corpus, config, seed, characters, prepared.folder).items():
            if split in splits:
                now += list_sources(split, listed, None if config.trust_files else digests)
    else:
        then = [source for source in before if source.split in splits]
        for split in dict.fromkeys(source.split for source in then):
            now += _generated_from(corpus, config, split, digests)
            made = [source for source in then if source.split == split]
            now += look_again(made, prepared.folder, digests)
    digests.save()
    return describe_changes(before, now, [split for split in SPLITS if split in splits])


def _split_sources(
    corpus: Corpus, config: DataConfig, split: str, listed: list[ListedUtterance], folder: Path, digests: FileDigests
) -> Iterator[Source]:
    if corpus.generate is None:
        tracked = track(listed, f"reading {split}", unit="files")
        yield from list_sources(split, tracked, None if config.trust_files else digests)
    else:
        yield from _generated_from(corpus, config, split, digests)
        yield from made_sources(split, listed, folder, digests)


def _generated_from(corpus: Corpus, config: DataConfig, split: str, digests: FileDigests) -> Iterator[Source]:
    root = resolve_root(config) if corpus.usual_name is not None else Path.cwd()
    yield from file_sources(split, corpus.find_sources(root, split), None if config.trust_files else digests)


def describe_transcripts(config: DataConfig, characters: Collection[str] | None) -> str:
    """Name the normalization of a corpus's transcripts.

    Args:
        config: which corpus.
        characters: as given to ``prepare_data``.

    Examples:
        >>> describe_transcripts(DataConfig(corpus="fsdd"), "AB")
        "NFKC, one apostrophe ('), single spaces, in capitals, punctuation as it stands"
    """
    return describe_normalization(characters, without_marks=find_corpus(config).is_written)


def _write_splits(
    generate: Callable[[DataConfig, int, str, int, OnBad], Iterator[Utterance]],
    config: DataConfig, seed: int, folder: Path, skipped: list[SkippedUtterance],
) -> dict[str, list[ListedUtterance]]:  # fmt: skip
    """Generate the splits of a corpus, and write their audio below the folder."""
    counts = dict(zip(SPLITS, (config.num_train, config.num_dev, config.num_test), strict=True))
    listed = {}
    for split, count in counts.items():

        def skip(error: AudioError, split: str = split) -> None:
            skipped.append(SkippedUtterance(split, Path(error.path).stem, error.path, error.reason))

        if count > 0:
            made = generate(config, seed, split, count, skip if config.on_bad_audio == "skip" else None)
            listed[split] = _choose_labels(_write_generated(made, folder, split, count), config, split)
    return listed


def _write_generated(utterances: Iterator[Utterance], folder: Path, split: str, count: int) -> list[ListedUtterance]:
    listed = []
    claim_folder(folder / "audio", Earlier(("../prepared.json", "../fingerprint"), ()))
    remove_leftovers(folder / "audio" / split)
    for item in track(utterances, f"making {split}", count, "utterances"):
        path = folder / "audio" / split / f"{item.id}.flac"
        with swapped_in(path) as part:
            write_audio(part, item.samples)
        listed.append(ListedUtterance(item.id, path, item.text, item.speaker, labels=item.labels))
    return listed


def _list_splits(
    corpus: Corpus, config: DataConfig, seed: int, characters: Collection[str] | None, folder: Path
) -> dict[str, list[ListedUtterance]]:
    """List the splits of a corpus where it lies; only those that are asked for."""
    assert corpus.list_split is not None
    root, listed = resolve_root(config), {}
    for split, names in _split_names(config).items():
        if names:
            listed[split] = [item for name in names for item in corpus.list_split(root, name, config, folder)]
            if corpus.is_written:
                listed[split] = [replace(item, text=drop_silent_marks(item.text, characters)) for item in listed[split]]
    if config.split.by != "given":
        whole = [item for items in listed.values() for item in items]
        return make_splits(_choose_labels(whole, config, "all splits"), config.split, seed)
    listed = {split: _choose_labels(items, config, split) for split, items in listed.items()}
    if config.hold_out_speakers and "dev" not in listed:
        listed["train"], listed["dev"] = hold_out_speakers(listed.get("train", []), config.hold_out_speakers, seed)
    return {split: listed[split] for split in SPLITS if split in listed}


def _choose_labels(listed: list[ListedUtterance], config: DataConfig, where: str) -> list[ListedUtterance]:
    """Keep the labels that are asked for.

    Raises:
        DataError: no utterance has one of them.
    """
    if ALL_LABELS in config.labels:
        return listed
    known = {name for item in listed for name in item.labels} - {WORD_TIMES}
    if not known and not config.labels:
        return listed
    if listed and (absent := sorted(set(config.labels) - known)):
        there = f"has {', '.join(sorted(known))}" if known else "has none"
        raise DataError(f"data.labels: no utterance of {where} has a label {absent[0]!r}; {config.corpus} {there}")
    kept = [*config.labels, WORD_TIMES]
    return [
        replace(item, labels={name: item.labels[name] for name in kept if name in item.labels})
        for item in listed
    ]


def _split_names(config: DataConfig) -> dict[str, list[str]]:
    """Return the corpus's own names of the parts of train, dev and test."""
    switches = {
        "train-clean-100": config.train_clean_100,
        "train-clean-360": config.train_clean_360,
        "train-other-500": config.train_other_500,
    }
    chosen = [name for name, wanted in switches.items() if wanted] if config.corpus == "librispeech" else []
    return {"train": [*chosen, *config.train_splits], "dev": config.dev_splits, "test": config.test_splits}


def _warn_of_overlap(listed: dict[str, list[ListedUtterance]]) -> None:
    train = {(item.path, item.stretch) for item in listed.get("train", [])}
    for split in ("dev", "test"):
        if shared := sum((item.path, item.stretch) in train for item in listed.get(split, [])):
            log.warning("data: %d files of %s are in train too: its error rates will flatter", shared, split)
