"""``bigfoot summary``: layers, parameters and multiply-accumulates of a model."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from bigfoot.cli.options import MODEL_HELP, JsonOption


def summary(
    model: Annotated[
        str, typer.Argument(help=f"{MODEL_HELP} Also a YAML file or a name of bigfoot configs: the student it builds.")
    ],
    json_output: JsonOption = False,
) -> None:
    """Print every layer of a model with its shapes, parameters and multiply-accumulates.

    Of a configuration, print the student that it builds, with its parameters as
    the paper counts them; nothing is downloaded. For example:

    bigfoot summary methods/dphubert.yaml
    """
    from bigfoot.config.files import is_config
    from bigfoot.formats.folder import load_model
    from bigfoot.measure.summary import render_summary, summarize_model
    from bigfoot.pipeline.preset import summarize_preset

    preset = summarize_preset(model) if is_config(model) else None
    facts = summarize_model(load_model(model)) if preset is None else preset.student
    if json_output:
        typer.echo(json.dumps(facts.to_dict() | ({} if preset is None else preset.to_dict()), indent=2))
        return
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 120).print(*render_summary(facts), sep="\n")
    if preset is not None:
        typer.echo("\n".join(preset.describe()))
