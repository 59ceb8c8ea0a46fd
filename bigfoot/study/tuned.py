"""Result of a hyper-parameter search: a table, a plot, and the command that runs the best trial whole."""

from __future__ import annotations

import csv
import io
import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigfoot.report.files import encode_json, encode_text, write_set
from bigfoot.report.numbers import format_number
from bigfoot.report.plots import render_png
from bigfoot.report.render import render_table

if TYPE_CHECKING:  # matplotlib is slow to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class TunedTrial:
    """One trial.

    Args:
        number: from 0.
        state: ``complete``, ``pruned``, ``fail`` or ``running``.
        error: lowest on dev of its last training; None unless it is complete.
        values: by key.
        dev: errors on dev by optimizer step, all trainings counted on.
        reason: why it failed.
        folder: of its run.
    """

    number: int
    state: str
    error: float | None
    values: dict[str, Any]
    dev: dict[int, float]
    reason: str
    folder: str


@dataclass(frozen=True)
class Tuned:
    """All trials of a search.

    Args:
        config: YAML file or name of the configuration.
        overrides: the same in all trials.
        trials: in the order in which they started.
        logarithmic: keys of logarithmic ranges.
    """

    config: str
    overrides: list[str]
    trials: list[TunedTrial]
    logarithmic: list[str]

    @property
    def best(self) -> TunedTrial | None:
        """The complete trial with the lowest error, of equals the first."""
        complete = [trial for trial in self.trials if trial.error is not None]
        return min(complete, key=lambda trial: (trial.error, trial.number)) if complete else None


def best_so_far(trials: Sequence[TunedTrial]) -> list[tuple[int, float]]:
    """Return the lowest error up to each complete trial.

    Examples:
        >>> [best_so_far([TunedTrial(i, "complete", e, {}, {}, "", "") for i, e in enumerate(errors)])
        ...  for errors in ([0.5, 0.7, 0.2],)]
        [[(0, 0.5), (1, 0.5), (2, 0.2)]]
    """
    found, lowest = [], math.inf
    for trial in trials:
        if trial.error is not None:
            lowest = min(lowest, trial.error)
            found.append((trial.number, lowest))
    return found


def render_tuned(tuned: Tuned) -> str:
    """Write the search as Markdown: the best trial, then all of them, best first."""
    keys = list(dict.fromkeys(key for trial in tuned.trials for key in trial.values))
    ordered = sorted(tuned.trials, key=lambda trial: (math.inf if trial.error is None else trial.error, trial.number))
    cells = [
        [str(trial.number), trial.state, "" if trial.error is None else format_number(trial.error),
         *(_show(trial.values.get(key, "")) for key in keys), trial.reason]
        for trial in ordered
    ]  # fmt: skip
    counts = {state: sum(trial.state == state for trial in tuned.trials) for state in ("complete", "pruned", "fail")}
    lines = ["# Search for hyper-parameters", ""]
    lines += [f"{len(tuned.trials)} trials: " + ", ".join(f"{count} {state}" for state, count in counts.items()) + "."]
    if tuned.best is not None:
        config = shlex.quote(str(Path(tuned.best.folder) / "config.yaml"))
        lines += ["", f"Best: trial {tuned.best.number}, lowest error on dev {format_number(tuned.best.error)}. Whole:",
                  "", "```bash", f"bigfoot compress --config {config} run_dir=runs/best", "```"]  # fmt: skip
    lines += ["", *render_table(["trial", "state", "dev error", *keys, "why it failed"], cells), "",
              "The error is the lowest on dev of the last training (WER where there are transcripts), by which its "
              "best model was selected. It is optimistic: report another split."]  # fmt: skip
    return "\n".join(lines) + "\n"


def _show(value: Any) -> str:  # noqa: ANN401 - of a setting's own type
    return format_number(value) if isinstance(value, float) else str(value)


def _render_rows(tuned: Tuned) -> str:
    keys = list(dict.fromkeys(key for trial in tuned.trials for key in trial.values))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["trial", "state", "dev_error", *keys, "reason", "folder"])
    for trial in tuned.trials:
        values = [trial.values.get(key, "") for key in keys]
        writer.writerow([trial.number, trial.state, trial.error, *values, trial.reason, trial.folder])
    return file.getvalue()


def draw_tuned(tuned: Tuned) -> Figure:
    """Draw the errors over the trials with the best so far, and over each setting that varies.

    Args:
        tuned: of any number of trials.
    """
    from matplotlib.figure import Figure

    keys = list(dict.fromkeys(key for trial in tuned.trials for key in trial.values))
    rows = -(-(1 + len(keys)) // 3)
    figure = Figure(figsize=(11.0, 3.2 * rows), layout="constrained")
    panels = figure.subplots(rows, 3, squeeze=False).flatten().tolist()
    _draw_history(panels[0], tuned.trials)
    for axes, key in zip(panels[1:], keys, strict=False):
        shown = [trial for trial in tuned.trials if trial.error is not None and key in trial.values]
        values = [trial.values[key] for trial in shown]
        numbers = all(isinstance(value, (int, float)) for value in values)
        axes.scatter([value if numbers else str(value) for value in values], [trial.error for trial in shown], s=18)
        if key in tuned.logarithmic:
            axes.set_xscale("log")
        axes.set_xlabel(key)
    for axes in panels[1 + len(keys) :]:
        axes.set_visible(False)
    return figure


def _draw_history(axes: Axes, trials: Sequence[TunedTrial]) -> None:
    complete = [(trial.number, trial.error) for trial in trials if trial.error is not None]
    axes.scatter([number for number, _ in complete], [error for _, error in complete], s=18, label="complete")
    pruned = [trial for trial in trials if trial.state == "pruned" and trial.dev]
    axes.scatter([t.number for t in pruned], [min(t.dev.values()) for t in pruned], marker="x", label="pruned")
    lowest = best_so_far(trials)
    axes.step([number for number, _ in lowest], [error for _, error in lowest], where="post", label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel("error on dev")
    axes.legend()


def save_tuned(tuned: Tuned, folder: str | Path) -> None:
    """Write ``tune.{md,csv,json,png}``, each whole or not at all.

    Args:
        tuned: what to write.
        folder: of the search.
    """
    contents = {
        "tune.md": encode_text(render_tuned(tuned)),
        "tune.csv": encode_text(_render_rows(tuned)),
        "tune.png": render_png(draw_tuned(tuned)),
        "tune.json": encode_json(asdict(tuned)),
    }
    write_set(folder, contents, sign="tune.json", key="trials")
