"""``bigfoot train-task``: a task head on the encoder, from labels to a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bigfoot.cli.compress import run_config, show_report
from bigfoot.cli.options import Overrides, name_default
from bigfoot.config.problems import Problem
from bigfoot.errors import ConfigError

if TYPE_CHECKING:
    from bigfoot.report.rows import Report

DEFAULT_CONFIG = "tasks/fsdd_digit.yaml"


def train_task(
    overrides: Overrides = None,
    config: Annotated[
        str | None, typer.Option(help=f"YAML file or a name of bigfoot configs; {DEFAULT_CONFIG} by default.")
    ] = None,
    until: Annotated[
        str, typer.Option(help="Stop after: data, teacher, a step such as train_task, or report.")
    ] = "report",
    seeds: Annotated[str, typer.Option(help="Several seeds, such as 1,2,3: a run each, and one table.")] = "",
    folds: Annotated[int, typer.Option(min=0, help="Number of folds: a run each, and one table.")] = 0,
) -> None:
    """Train an encoder to classify, rate or measure utterances; evaluate and report.

    The same command resumes a stopped run and skips finished steps. Other
    steps go before and after train_task: student, distill, prune, quantize.

    A file with kind: speech_llm trains a language model that takes speech
    among its input embeddings, in the stages that its steps name.
    """
    from bigfoot.pipeline.speech_llm.run import is_speech_llm

    config = config or name_default(DEFAULT_CONFIG)
    if is_speech_llm(config):
        _train_speech_llm(config, overrides or [], until, repeats=bool(seeds or folds))
        return
    if seeds or folds:
        from bigfoot.pipeline.repeats import RepeatedRun, run_repeats
        from bigfoot.pipeline.settings import read_config

        base, _ = read_config(config, overrides or [])
        frames = "train_task.frames_folder" if base.train_task.frames_folder is None else ""
        repeated = RepeatedRun(base.run_dir, base.seed, "data.split", base.data.split.by, frames)

        def run(changes: list[str]) -> Report | None:
            return run_config(config, [*(overrides or []), *changes], until)[0]

        typer.echo(run_repeats(seeds, folds, repeated, run, tabulate=until == "report"))
        return
    report, run_dir = run_config(config, overrides or [], until)
    if report is not None:
        show_report(report, Path(run_dir) / "report")


def _train_speech_llm(config: str, overrides: list[str], until: str, *, repeats: bool) -> None:
    from bigfoot.pipeline.speech_llm.run import run_speech_llm

    if repeats:
        message = "a speech LLM is trained once a command; give seed= and run_dir= of each"
        raise ConfigError([Problem("--seeds", "not_read", message)])
    report, settings = run_speech_llm(config, overrides, until)
    if report is not None:
        show_report(report, Path(settings.run_dir) / "report")
