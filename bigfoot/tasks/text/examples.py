"""Rows of tables as examples of a text task."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bigfoot.audio.account import Account, LeftOut
from bigfoot.audio.files import find_peak, read_header
from bigfoot.config import Problem
from bigfoot.data.manifests import SHORTEST, UNKNOWN_SPEAKER, ListedUtterance
from bigfoot.data.rows import Row, read_rows
from bigfoot.data.splits import make_splits
from bigfoot.errors import AudioError, ConfigError, DataError
from bigfoot.storage.remote import fetch
from bigfoot.tasks.text.settings import TrainTextConfig
from bigfoot.types import Seconds

log = logging.getLogger("bigfoot")

_TEXT = ("text", "transcript", "sentence")
_NOT_LABELS = frozenset({"text", "path", "speaker", "id"})


def read_examples(config: TrainTextConfig) -> tuple[dict[str, list[ListedUtterance]], dict[str, Account]]:
    """Read the splits of a text task.

    Args:
        config: tables, columns, and how dev and test are made.

    Returns:
        Examples that can be used, by split, and what came of all rows.

    Raises:
        DataError: a table or a column is missing, or a split has nothing usable.
        ConfigError: train is to be split, and is no table alone.
    """
    splits: dict[str, list[ListedUtterance]] = {}
    accounts: dict[str, Account] = {}
    for split, table in {"train": config.csv, "dev": config.dev, "test": config.test}.items():
        if not table:
            continue
        listed = list(_list_examples(fetch(table).expanduser(), config))
        left_out = [LeftOut(str(item.path), item.problem or "", None) for item in listed if item.problem]
        splits[split] = [item for item in listed if not item.problem]
        accounts[split] = Account(len(splits[split]), 0.0, left_out)
        log.info("%s: %s", split, accounts[split].describe())
        if not splits[split]:
            raise DataError(f"{split}: none of the {len(listed)} rows of {table} can be used: {_first(listed)}")
    if "dev" not in splits:
        splits |= _split_train(splits["train"], config, with_test="test" not in splits)
    return splits, accounts


def _first(listed: Sequence[ListedUtterance]) -> str:
    return next((item.problem for item in listed if item.problem), "it is empty") or ""


def _split_train(
    train: list[ListedUtterance], config: TrainTextConfig, with_test: bool
) -> dict[str, list[ListedUtterance]]:
    if config.split.by == "given":
        message = "given needs a table for dev; name it, or take speaker or utterance"
        raise ConfigError([Problem("split.by", "not_read", message)])
    if config.split.by == "label" and not any(config.split.label in item.labels for item in train):
        known = sorted({name for item in train for name in item.labels})
        message = f"{config.split.label!r} is no label of {config.csv}: {', '.join(known) or 'there are none'}"
        raise ConfigError([Problem("split.label", "unknown_word", message)])
    shares = config.split if with_test else replace(config.split, test=0.0, folds=0)
    return make_splits(train, shares, config.seed)


def _list_examples(table: Path, config: TrainTextConfig) -> Iterator[ListedUtterance]:
    columns, rows = read_rows(table)
    names = dict(config.columns)
    text = names.get("text") or next((name for name in _TEXT if name in columns), "text")
    label = {config.column: names.get("label") or names.get(config.column) or config.column}
    wanted = {name: names.get(name, name) for name in config.labels} if config.kind == "regression" else label
    needed = [*(wanted.values() if config.task_weight else ()), *([] if config.text == "recognized" else [text])]
    needed += [names.get("path", "path")] if config.speech.is_used else []
    if absent := [name for name in needed if name not in columns]:
        there = ", ".join(sorted(columns)) or "an empty file"
        raise DataError(f"{table} has no column {absent[0]} (there: {there}); see columns")
    seen: set[str] = set()
    for row in rows:
        yield _read_example(row, table, names | {"text": text}, wanted, config, seen)


def _read_example(
    row: Row, table: Path, names: Mapping[str, str], wanted: Mapping[str, str], config: TrainTextConfig, seen: set[str]
) -> ListedUtterance:
    def cell(use: str, default: str = "") -> str:
        return _cell(row.values.get(names.get(use, use))) or default

    values = {use: _cell(row.values.get(column)) for use, column in wanted.items()}
    labels = {use: value for use, value in values.items() if value}
    path = table.parent / cell("path") if config.speech.is_used else table
    name = cell("id") or _name_row(cell("path"), cell("text"), labels, seen)
    item = ListedUtterance(name, path, cell("text"), cell("speaker", UNKNOWN_SPEAKER), labels=labels)
    where = f"{table.name}:{row.line}"
    problem = row.problem or _find_problem(item, config)
    if name in seen and not problem:
        problem = f"the id {name} stands twice"
    seen.add(name)
    return replace(item, problem=f"{where}: {problem}") if problem else item


def _cell(value: object) -> str:
    return "" if value is None else str(value).strip()


def _name_row(path: str, text: str, labels: Mapping[str, str], seen: set[str]) -> str:
    """Name a row by its content, so that splits do not depend on the order of rows."""
    digest = hashlib.sha256(json.dumps([path, text, sorted(labels.items())]).encode()).hexdigest()[:12]
    return next(name for name in (digest, *(f"{digest}-{n}" for n in range(2, len(seen) + 3))) if name not in seen)


def _find_problem(item: ListedUtterance, config: TrainTextConfig) -> str | None:
    if not item.text and config.text != "recognized":
        return "has no text"
    if not item.labels and config.task_weight:
        return "has no label"
    if not config.speech.is_used:
        return None
    return _find_audio_problem(item.path, config.speech.max_seconds)


def _find_audio_problem(path: Path, longest: Seconds) -> str | None:
    try:
        header = read_header(path)
        if header.seconds < SHORTEST:
            return f"{header.seconds:.3f} s is shorter than {SHORTEST} s"
        if header.seconds > longest:
            return f"{header.seconds:.1f} s is longer than speech.max_seconds = {longest:g}"
        find_peak(path, sample_rate=header.sample_rate)
    except AudioError as error:
        return str(error)
    return None
