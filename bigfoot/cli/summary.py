"""``bigfoot summary``: layers, parameters and multiply-accumulates of a model."""

from __future__ import annotations

import json
import sys

import typer

from bigfoot.cli.options import JsonOption, ModelArgument


def summary(
    model: ModelArgument,
    json_output: JsonOption = False,
) -> None:
    """Print every layer of a model with its shapes, parameters and multiply-accumulates.

    For a YAML file, print the student that it builds, with its parameters as the paper counts them.
    """
    from bigfoot.formats.folder import load_model
    from bigfoot.measure.summary import render_summary, summarize_model
    from bigfoot.pipeline.preset import summarize_preset

    preset = summarize_preset(model) if model.endswith((".yaml", ".yml")) else None
    facts = summarize_model(load_model(model)) if preset is None else preset.student
    if json_output:
        typer.echo(json.dumps(facts.to_dict() | ({} if preset is None else preset.to_dict()), indent=2))
        return
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 120).print(*render_summary(facts), sep="\n")
    if preset is not None:
        typer.echo("\n".join(preset.describe()))
