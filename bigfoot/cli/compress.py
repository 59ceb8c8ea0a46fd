"""``bigfoot compress``: from a teacher to a report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bigfoot.cli.options import DEFAULT_CONFIG, Overrides, name_default
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
    """Compress a teacher: initialize the student, distill, fine-tune, evaluate, report.

    The same command resumes a stopped run and skips finished steps.
    """
    config = config or name_default(DEFAULT_CONFIG)
    report, run_dir = run_config(config, overrides or [], until)
    if report is not None:
        show_report(report, Path(run_dir) / "report")


def run_config(config: str, overrides: Sequence[str], until: str) -> tuple[Report | None, str]:
    """Run a configuration.

    Args:
        config: YAML file or a name of ``bigfoot configs``.
        overrides: ``key=value`` each.
        until: stage after which it stops.

    Returns:
        The report, None of a run that stopped before it, and the run folder on this machine.

    Raises:
        ConfigError: with all problems.
    """
    from bigfoot.pipeline import list_stages, run_pipeline
    from bigfoot.pipeline.settings import read_config
    from bigfoot.storage.places import is_remote
    from bigfoot.storage.remote import mirrored

    settings, problems = read_config(config, overrides)
    # A module that the configuration names may have registered a step.
    if until not in list_stages():
        message = f"{until!r} is none of {', '.join(list_stages())}"
        raise ConfigError([*problems, Problem("--until", "unknown_stage", message)])
    with mirrored(settings.run_dir) as folder:
        if is_remote(settings.run_dir):
            settings.run_dir = str(folder)
        return run_pipeline(settings, problems=problems, until=until, config_path=config), settings.run_dir


def show_report(report: Report, folder: Path) -> None:
    """Print the table and the path of the report.

    Args:
        report: of ``run_pipeline``.
        folder: of the report.
    """
    from rich.console import Console

    from bigfoot.report.console import render_console

    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(render_console(report))
    console.print(f"Report: {folder / 'report.md'}  (plots, CSV and JSON beside it)", soft_wrap=True)
