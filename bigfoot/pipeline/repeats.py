"""The same run with several seeds or folds, and one table over them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bigfoot.config import Problem
from bigfoot.errors import ConfigError
from bigfoot.report.files import encode_json, encode_text, write_whole
from bigfoot.report.render import render_table
from bigfoot.report.rows import Report
from bigfoot.storage.inventory import Inventory
from bigfoot.storage.ownership import OWN_OR_EDITED
from bigfoot.storage.places import is_remote
from bigfoot.storage.remote import mirrored

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
    write_whole(folder / "repeats.md", encode_text(text), may=OWN_OR_EDITED)
    write_whole(folder / _FILE, encode_json({"repeats": entries}), may=OWN_OR_EDITED)
    return folder / "repeats.md"


def _list_scores(report: Report) -> Iterator[tuple[tuple[str, str, str], float | None]]:
    """Scores of a report by split, model and metric: floors of tasks first, which its models must beat."""
    for task in report.tasks:
        for floor, metrics in (task.get("floors") or {}).items():
            yield (task["split"], f"floor: {floor}", task["metric"]), metrics.get(task["metric"])
    for row in report.rows:
        yield (row.split, row.name, row.metric or "wer"), row.score if row.metric else row.wer
