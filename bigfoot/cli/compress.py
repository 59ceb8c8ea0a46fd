"""``bigfoot compress``: from a teacher to a report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bigfoot.cli.options import DEFAULT_CONFIG, Overrides
from bigfoot.config.problems import Problem
from bigfoot.errors import ConfigError

if TYPE_CHECKING:
    from bigfoot.report.rows import Report


def compress(
    overrides: Overrides = None,
    config: Annotated[
        str | None, typer.Option(help=f"YAML file or a name of bigfoot configs; {DEFAULT_CONFIG} by default.")
    ] = None,
    until: Annotated[
        str, typer.Option(help="Stop after: data, teacher, a step such as distill, or report.")
    ] = "report",
) -> None:
    """From a teacher to a table: make the student, distill, fine-tune, evaluate, report.

    The same command given again goes on where it was stopped and skips what is done.
    """
    from bigfoot.pipeline import list_stages, run_pipeline
    from bigfoot.pipeline.settings import read_config

    if config is None:
        config = DEFAULT_CONFIG
        typer.echo(f"note: --config {config}, the default; bigfoot configs lists the others", err=True)
    settings, problems = read_config(config, overrides or [])
    # A module that the configuration names may have registered a step.
    if until not in list_stages():
        message = f"{until!r} is none of {', '.join(list_stages())}"
        raise ConfigError([*problems, Problem("--until", "unknown_stage", message)])
    report = run_pipeline(settings, problems=problems, until=until, config_path=config)
    if report is not None:
        show_report(report, Path(settings.run_dir) / "report")


def show_report(report: Report, folder: Path) -> None:
    """Print the table and where the rest lies.

    Args:
        report: of ``run_pipeline``.
        folder: where it was written.
    """
    from rich.console import Console

    from bigfoot.report.console import render_console

    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(render_console(report))
    console.print(f"Report: {folder / 'report.md'}  (plots, CSV and JSON beside it)", soft_wrap=True)
