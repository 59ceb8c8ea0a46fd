"""The same run with several seeds or folds, and one table over them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bigfoot.config import Problem
from bigfoot.errors import ConfigError
from bigfoot.report.files import encode_json, encode_text, write_whole
from bigfoot.report.render import render_table
from bigfoot.report.rows import Report
from bigfoot.storage.inventory import Inventory
from bigfoot.storage.ownership import OWN_OR_EDITED
from bigfoot.storage.places import is_remote
from bigfoot.storage.remote import mirrored
from bigfoot.tasks.folds import PooledScore, score_folds

_FILE = "repeats.json"


@dataclass(frozen=True)
class RepeatedRun:
    """Settings of a run that its repeats change.

    Args:
        run_dir: folder of all of them.
        seed: the configured one.
        split: key of the settings of its split.
        by: how that splits now.
        frames: key of the folder of frames that all runs share; empty where there is none, or it is configured.
    """

    run_dir: str
    seed: int
    split: str
    by: str
    frames: str = ""


def plan_repeats(seeds: str, folds: int, base: RepeatedRun) -> Iterator[tuple[str, list[str]]]:
    """List the runs of several seeds and folds.

    Args:
        seeds: separated by commas; empty for the configured one.
        folds: how many; 0 for none.
        base: the run that is repeated.

    Yields:
        A name, and the overrides of its run, whose folder is below the configured one.

    Raises:
        ConfigError: seeds that are no numbers.

    Examples:
        >>> base = RepeatedRun("runs/mood", 7, "split", "speaker")
        >>> [name for name, _ in plan_repeats("1,2", 3, base)]
        ['seed1-fold0', 'seed1-fold1', 'seed1-fold2', 'seed2-fold0', 'seed2-fold1', 'seed2-fold2']
    """
    try:
        chosen = [int(seed) for seed in seeds.split(",")] if seeds else [base.seed]
    except ValueError:
        problem = Problem("--seeds", "wrong_type", f"expected numbers such as 1,2,3, got {seeds!r}")
        raise ConfigError([problem]) from None
    for seed in dict.fromkeys(chosen):
        for fold in range(folds) if folds else [None]:
            name = f"seed{seed}" + ("" if fold is None else f"-fold{fold}")
            changes = [f"seed={seed}", f"run_dir={Path(base.run_dir) / name}"]
            if base.frames:
                changes.append(f"{base.frames}={Path(base.run_dir) / 'frames'}")
            if fold is not None:
                by = [] if base.by != "given" else [f"{base.split}.by=speaker"]
                changes += [f"{base.split}.folds={folds}", f"{base.split}.fold={fold}", *by]
            yield name, changes


def run_repeats(
    seeds: str, folds: int, base: RepeatedRun, run: Callable[[list[str]], Report | None], *, tabulate: bool = True
) -> str:  # fmt: skip
    """Run several seeds and folds, and write one table over them.

    Args:
        seeds: see ``plan_repeats``.
        folds: likewise.
        base: likewise; its folder may lie in the cloud.
        run: runs a list of overrides to its report.
        tabulate: whether the runs have reports.

    Returns:
        The table, in Markdown, with its path in the last line; empty without reports.

    Raises:
        ConfigError: seeds that are no numbers.
    """
    with mirrored(base.run_dir) as folder:
        if is_remote(base.run_dir):
            # The folder of the first run alone would not show whose the place is, if nothing comes after it.
            Inventory(folder).claim()
        here = replace(base, run_dir=str(folder))
        reports = {name: run(changes) for name, changes in plan_repeats(seeds, folds, here)}
        if not tabulate:
            return ""
        path = write_repeats(reports, folder)
        return f"{path.read_text(encoding='utf-8')}\nTable: {path}"


def write_repeats(reports: Mapping[str, Report | None], folder: Path) -> Path:
    """Write ``repeats.md`` and ``repeats.json``: mean and range of every model's score, over all seeds and folds.

    Of folds also the score of all answers together, each by a model without its fold, and its gain on the best floor.

    Args:
        reports: by name of the run.
        folder: of all runs.

    Returns:
        The Markdown file.
    """
    scores: dict[tuple[str, str, str], dict[str, float]] = {}
    for name, report in reports.items():
        for key, value in _list_scores(report) if report is not None else ():
            if value is not None:
                scores.setdefault(key, {})[name] = value
    heads = ["model", "split", "metric", "mean", "lowest", "highest", "runs"]
    cells = [
        [model, split, metric, f"{statistics.fmean(found.values()):.3f}", f"{min(found.values()):.3f}",
         f"{max(found.values()):.3f}", str(len(found))]
        for (split, model, metric), found in scores.items()
    ]  # fmt: skip
    entries = [
        {"split": split, "model": model, "metric": metric, "scores": found}
        for (split, model, metric), found in scores.items()
    ]
    text = "\n".join([f"# {folder.name}: {len(reports)} runs", "", *render_table(heads, cells), ""])
    draws = _bootstrap(reports)
    pooled = [(seed, score) for seed, tasks in _list_folds(reports) for score in score_folds(tasks, *draws)]
    text += _render_pooled(pooled) or _describe_unpooled(reports)
    write_whole(folder / "repeats.md", encode_text(text), may=OWN_OR_EDITED)
    found = {"repeats": entries, "pooled": [_describe_pooled(seed, score) for seed, score in pooled]}
    write_whole(folder / _FILE, encode_json(found), may=OWN_OR_EDITED)
    return folder / "repeats.md"


def _list_folds(reports: Mapping[str, Report | None]) -> Iterator[tuple[str, list[list[dict[str, Any]]]]]:
    """Yield the folds of each seed, of which all have answers: entries of test."""
    names = [name.partition("-fold") for name in reports]
    for seed in dict.fromkeys(seed for seed, fold, _ in names if fold):
        folds = [report for name, report in reports.items() if name.startswith(f"{seed}-fold")]
        tasks = [[task for task in report.tasks if "shape" in task] if report else [] for report in folds]
        tested = [[task for task in entries if task.get("split") == "test"] for entries in tasks]
        if all(any("answers" in task for task in entries) for entries in tested):
            yield seed, tested


def _describe_unpooled(reports: Mapping[str, Report | None]) -> str:
    """Return why folds are not scored together; empty where there are none to score."""
    if not any(len(tasks) > 1 for _, tasks in _list_folds(reports)):
        return ""
    return (
        "\nThe folds are not scored together, since their heads have different labels; "
        "name all of them in train_task.labels (train-text: labels).\n"
    )


def _bootstrap(reports: Mapping[str, Report | None]) -> tuple[int, int]:
    """Return resamples and seed, as the reports of the runs have them."""
    config = next(report.config for report in reports.values() if report is not None)
    samples = config.get("bootstrap_samples") or config.get("evaluate", {}).get("bootstrap_samples", 1000)
    return int(samples), int(config.get("seed", 0))


def _render_pooled(pooled: Sequence[tuple[str, PooledScore]]) -> str:
    if not pooled:
        return ""
    heads = ["seed", "model", "scored per", "metric", "score [95 %]", "gain on the best floor [95 %]", "number"]
    cells = []
    for seed, each in pooled:
        score, value = each.score, each.score.metrics.get(each.score.metric)
        ends = "" if score.low is None else f" [{score.low:.3f}, {score.high:.3f}]"
        gain = "" if each.gain is None else "{:+.3f} [{:+.3f}, {:+.3f}]".format(*each.gain)
        shown = "n/a" if value is None else f"{value:.3f}{ends}"
        seed, number = seed.removeprefix("seed"), str(score.num_utterances)
        cells.append([seed, each.model, each.per, score.metric, shown, gain, number])
    title = "## All folds together: each utterance answered by a model without its fold"
    return "\n".join(["", title, "", *render_table(heads, cells), ""])


def _describe_pooled(seed: str, pooled: PooledScore) -> dict[str, Any]:
    return {
        "seed": int(seed.removeprefix("seed")), "model": pooled.model, "per": pooled.per, **pooled.score.entry,
        "gain": pooled.gain, "number": pooled.score.num_utterances,
    }  # fmt: skip


def _list_scores(report: Report) -> Iterator[tuple[tuple[str, str, str], float | None]]:
    """Scores of a report by split, model and metric: floors of tasks first, which its models must beat."""
    for task in report.tasks:
        for floor, metrics in (task.get("floors") or {}).items():
            yield (task["split"], f"floor: {floor}", task["metric"]), metrics.get(task["metric"])
    for row in report.rows:
        yield (row.split, row.name, row.metric or "wer"), row.score if row.metric else row.wer
