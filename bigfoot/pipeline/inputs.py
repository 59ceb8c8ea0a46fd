"""Prepare the data of a run once, and again only if its sources have changed."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from bigfoot.config import to_dict
from bigfoot.data.corpora import SPLITS, find_changes, prepare_data
from bigfoot.data.cuts import read_cuts
from bigfoot.data.manifests import PREPARED_FILE, PreparedData, describe_trimmed, load_prepared
from bigfoot.data.noise import NoiseFolder
from bigfoot.data.sources import DIGESTS_FILE
from bigfoot.errors import DataError
from bigfoot.pipeline.facts import log_skipped
from bigfoot.pipeline.fingerprints import fingerprint
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.steps.step import get_step
from bigfoot.pipeline.vocabulary import characters_of_file
from bigfoot.storage.digests import FileDigests, is_plain_file
from bigfoot.storage.state import forget_state, refuse_file, refuse_folder, write_whole
from bigfoot.text.tokenizers import Processor

log = logging.getLogger("bigfoot")

# Settings of batching and of checks; all others determine the content of the manifests.
_LOADING = (
    "batch_seconds", "crop_seconds", "num_buckets", "num_workers", "shard_buffer", "shard_lanes", "augment",
    "trust_files",
)  # fmt: skip


def corpus_settings(config: Config) -> dict[str, Any]:
    """Return the settings that determine the content of the manifests.

    Args:
        config: of the run.
    """
    return {key: value for key, value in to_dict(config.data).items() if key not in _LOADING}


def splits_until(until: str, config: Config) -> set[str]:
    """Return the splits that are read before a run stops; test is read once, at the end.

    Args:
        until: stage after which it stops.
        config: of the run.
    """
    return {"train", "dev"} | ({"test", *config.evaluate.splits} if until in ("data", "report") else set())


def warn_without_transcripts(config: Config, data: PreparedData) -> None:
    """Warn, before anything is trained, of splits for which the report will have no error rates.

    Args:
        config: of the run.
        data: prepared for it.
    """
    if not set(config.steps) - {"train_task"}:
        return
    for split in config.evaluate.splits:
        manifest = data.manifests.get(split)
        if manifest is not None and not any(cut.supervisions[0].text for cut in read_cuts(manifest)):
            log.warning("data: no utterance of %s has a transcript; the report will have no WER for it", split)


def needs_same_data(one: Config, other: Config) -> bool:
    """Return whether two runs with the same teacher can share their manifests.

    Args:
        one: configuration of a run.
        other: of another.

    Examples:
        >>> from bigfoot.pipeline.settings import load_config
        >>> one = load_config("demo_config.yaml")
        >>> needs_same_data(one, load_config("demo_config.yaml", ["seed=8"]))
        False
    """
    ours, theirs = ((corpus_settings(each), each.seed, _allows_new_characters(each)) for each in (one, other))
    return ours == theirs and one.teacher == other.teacher


def _allows_new_characters(config: Config) -> bool:
    """Return whether transcripts may hold characters outside the teacher's vocabulary."""
    prunes = "prune" in config.steps and get_step("prune").reads_labels(config)
    own_labels = config.finetune.head != "teacher" and not config.distill.losses.ctc.weight and config.control is None
    # Pseudo-labels use the teacher's characters, and so must the references of test.
    return own_labels and config.data.transcripts == "given" and not prunes


def find_characters(config: Config, processor: Processor) -> list[str] | None:
    """Return the characters allowed in transcripts; None for a new vocabulary, or if the teacher's allows any.

    Args:
        config: of the run.
        processor: of the model that transcripts are for, see ``Models.writes``.
    """
    tokenizer = processor.tokenizer
    if tokenizer is None or tokenizer.characters is None or config.trains_task or _allows_new_characters(config):
        return None
    kept = characters_of_file(config)
    return sorted(tokenizer.characters if kept is None else tokenizer.characters & kept)


def refuse_misplaced(run_dir: Path, steps: Collection[str]) -> None:
    """Reject files in place of a run's folders, and the reverse, before anything is done.

    Args:
        run_dir: of the run.
        steps: of the run.

    Raises:
        OutputError: such a file or folder exists.
    """
    for folder in (run_dir, *(run_dir / name for name in ("data", "report", "tensorboard", "teacher", *steps))):
        refuse_file(folder)
    for name in ("log.txt", "config.yaml", "data/fingerprint", f"data/{PREPARED_FILE}", "report/fingerprint"):
        refuse_folder(run_dir / name)
    for step in steps:
        refuse_folder(run_dir / step / "facts.json")


def prepare_inputs(
    config: Config, run_dir: Path, characters: list[str] | None, splits: Collection[str]
) -> PreparedData:
    """Prepare the manifests, or reuse them if their sources are unchanged.

    Args:
        config: of the run.
        run_dir: of the run; the manifests are written to its ``data``.
        characters: allowed in transcripts; None for any.
        splits: that the run reads before it stops; changes in others are ignored.

    Raises:
        DataError: see ``prepare_data``; or a split is missing.
        OutputError: a file is in the place of a folder, or the reverse.
    """
    folder, expected = run_dir / "data", fingerprint(corpus_settings(config), config.seed, characters)
    data, reason = _find(config, folder, expected, characters, splits)
    if data is None:
        log.info("data: %spreparing %s%s", f"{reason}; " if reason else "", config.data.corpus, " again" * bool(reason))
        # Until the new data is complete, the old fingerprint must not describe a mixture.
        forget_state(folder / "fingerprint")
        data = prepare_data(config.data, config.seed, folder, characters)
        write_whole(folder / "fingerprint", expected.encode())
    else:
        log_skipped("data", folder)
    if config.data.trust_files:
        log.info("data: audio files are assumed unchanged (data.trust_files)")
    _require_splits(data, config)
    return data


def prepare_alone(config: Config, folder: Path) -> PreparedData:
    """Prepare manifests outside of a run, with any characters, or reuse those of an unchanged corpus.

    Args:
        config: of the data, and the seed.
        folder: of the manifests.

    Raises:
        DataError: see ``prepare_data``.
    """
    expected = fingerprint(corpus_settings(config), config.seed, None)
    data, _ = _find(config, folder, expected, None, SPLITS)
    if data is None:
        forget_state(folder / "fingerprint")
        data = prepare_data(config.data, config.seed, folder)
        write_whole(folder / "fingerprint", expected.encode())
    return data


def find_unchanged(config: Config, run_dir: Path, characters: list[str] | None) -> PreparedData | None:
    """Return the manifests of a run if they are whole and nothing that they are made of has changed.

    Args:
        config: of the run.
        run_dir: of the run.
        characters: as given to ``prepare_inputs``.
    """
    expected = fingerprint(corpus_settings(config), config.seed, characters)
    return _find(config, run_dir / "data", expected, characters, SPLITS)[0]


def _find(
    config: Config, folder: Path, expected: str, characters: list[str] | None, splits: Collection[str]
) -> tuple[PreparedData | None, str]:
    """Return the prepared data, or None and why it cannot be reused (empty if there is none)."""
    stamp = _read_stamp(folder / "fingerprint")
    if stamp is None:
        return None, ""
    if stamp != expected:
        return None, "" if re.fullmatch("[0-9a-f]{16}", stamp) else f"{folder / 'fingerprint'} is damaged"
    try:
        data = load_prepared(folder)
        changes = find_changes(config.data, config.seed, data, characters, splits)
    except DataError as error:
        return None, str(error).partition(";")[0]
    return (None, "; ".join(changes)) if changes else (data, "")


def _read_stamp(file: Path) -> str | None:
    return file.read_bytes().decode(errors="replace") if is_plain_file(file) else None


def _require_splits(data: PreparedData, config: Config) -> None:
    for split in {"train", "dev", *config.evaluate.splits} - set(data.manifests):
        if config.data.split.by != "given" and split != "train":
            raise DataError(f"data.split.{split} is 0, and there is no {split} split: give it a share above 0")
        raise DataError(f"the corpus has no {split} split: set data.{split}_splits (or data.hold_out_speakers for dev)")
    hours = ", ".join(f"{split} {data.num_utterances[split]} utterances, {h:.2f} h" for split, h in data.hours.items())
    log.info("data: %s; %d left out", hours, len(data.skipped))
    for split in data.manifests:
        if (account := data.account(split)).left_out:
            log.info("data: %s: %s", split, account.describe())
        if config.data.trim_silence_db is not None:
            log.info("%s", describe_trimmed(split, data.manifests[split]))


def digest_training_data(data: PreparedData) -> str:
    """Compute the digest of the data for training and for checkpoint selection.

    Args:
        data: of ``prepare_inputs``.
    """
    return fingerprint(*(data.contents[split] for split in ("train", "dev")))


def digest_noise(config: Config, data: PreparedData) -> str | None:
    """Compute the digest of the noise recordings; None without any.

    Args:
        config: of the run.
        data: its folder caches the digests.
    """
    if config.data.augment.noise_folder is None:
        return None
    noise = NoiseFolder.find(config.data.augment.noise_folder)
    if config.data.trust_files:
        return fingerprint([str(path) for path in noise.files])
    digests = FileDigests(data.folder / DIGESTS_FILE)
    found = [(path.relative_to(noise.folder).as_posix(), digests.digest(path)) for path in noise.files]
    digests.save()
    return fingerprint(found)
