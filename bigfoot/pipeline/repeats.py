"""The same run with several seeds or folds, and one table over them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bigfoot.config import Problem
from bigfoot.errors import ConfigError
from bigfoot.pipeline.settings import read_config
from bigfoot.report.files import encode_json, encode_text, write_whole
from bigfoot.report.render import render_table
from bigfoot.report.rows import Report
from bigfoot.storage.ownership import OWN_OR_EDITED

_FILE = "repeats.json"


def plan_repeats(
    seeds: str, folds: int, config: str | None, overrides: Sequence[str]
) -> Iterator[tuple[str, list[str]]]:
    """List the runs of several seeds and folds.

    Args:
        seeds: separated by commas; empty for the configured one.
        folds: how many; 0 for none.
        config: YAML file of the run.
        overrides: of the command line.

    Yields:
        A name, and the overrides of its run, whose folder is below the configured one.

    Raises:
        ConfigError: seeds that are no numbers.

    Examples:
        >>> [name for name, _ in plan_repeats("1,2", 3, None, [])]
        ['seed1-fold0', 'seed1-fold1', 'seed1-fold2', 'seed2-fold0', 'seed2-fold1', 'seed2-fold2']
    """
    base, _ = read_config(config, overrides)
    try:
        chosen = [int(seed) for seed in seeds.split(",")] if seeds else [base.seed]
    except ValueError:
        problem = Problem("--seeds", "wrong_type", f"expected numbers such as 1,2,3, got {seeds!r}")
        raise ConfigError([problem]) from None
    for seed in dict.fromkeys(chosen):
        for fold in range(folds) if folds else [None]:
            name = f"seed{seed}" + ("" if fold is None else f"-fold{fold}")
            changes = [f"seed={seed}", f"run_dir={Path(base.run_dir) / name}"]
            if fold is not None:
                by = [] if base.data.split.by != "given" else ["data.split.by=speaker"]
                changes += [f"data.split.folds={folds}", f"data.split.fold={fold}", *by]
            yield name, changes


def write_repeats(reports: Mapping[str, Report | None], folder: Path) -> Path:
    """Write ``repeats.md`` and ``repeats.json``: mean and range of every model's score.

    Args:
        reports: by name of the run.
        folder: of all runs.

    Returns:
        The Markdown file.
    """
    scores: dict[tuple[str, str, str], dict[str, float]] = {}
    for name, report in reports.items():
        for row in report.rows if report is not None else []:
            value = row.score if row.metric else row.wer
            if value is not None:
                scores.setdefault((row.split, row.name, row.metric or "wer"), {})[name] = value
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
