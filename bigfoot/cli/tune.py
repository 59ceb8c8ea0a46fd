"""``bigfoot tune``: search for hyper-parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bigfoot.cli.options import DEFAULT_CONFIG, Overrides, name_default


def tune(
    overrides: Overrides = None,
    config: Annotated[
        str | None, typer.Option(help=f"YAML file or a name of bigfoot configs; {DEFAULT_CONFIG} by default.")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials in all, those of earlier calls included.")] = 20,
    space: Annotated[
        str | None, typer.Option(help="YAML file of what varies; tune/default.yaml of bigfoot's by default.")
    ] = None,
) -> None:
    """Search for the settings of training with the lowest error on dev, by trials that optuna chooses and prunes.

    Needs the extra [tune]. The search's folder is run_dir; the same command resumes a stopped search.
    """
    from bigfoot.errors import TrainingError
    from bigfoot.pipeline.settings import load_config
    from bigfoot.study.tune import TuneRequest
    from bigfoot.study.tune import tune as search
    from bigfoot.study.tuned import render_tuned, save_tuned
    from bigfoot.training.processes import is_launched

    if is_launched():
        raise TrainingError("bigfoot tune is one process; run it without a launcher")
    request = TuneRequest(config or name_default(DEFAULT_CONFIG), overrides or [], trials, space)
    tuned = search(request, typer.echo)
    folder = Path(load_config(request.config, request.overrides).run_dir)
    save_tuned(tuned, folder)
    typer.echo(render_tuned(tuned))
    typer.echo(f"Search: {folder / 'tune.md'}  (CSV, JSON and plot beside it)")
    if tuned.best is None:
        raise TrainingError("no trial came to its end: there is no best one")
