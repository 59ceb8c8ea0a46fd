"""``bigfoot train-text``: a classifier of text, alone or fused with speech, from a table to a report."""

from __future__ import annotations

from typing import Annotated

import typer

from bigfoot.cli.compress import show_report
from bigfoot.cli.options import Overrides
from bigfoot.config.problems import Problem
from bigfoot.errors import ConfigError


def train_text(
    overrides: Overrides = None,
    csv: Annotated[
        str, typer.Option(help="Table to train on: CSV, TSV or JSONL with the columns text and label.")
    ] = "",
    model: Annotated[str, typer.Option(help="Folder or hub id of a text encoder in transformers' format.")] = "",
    config: Annotated[str | None, typer.Option(help="YAML file of these settings.")] = None,
    seeds: Annotated[str, typer.Option(help="Several seeds, such as 1,2,3: a run each, and one table.")] = "",
    folds: Annotated[int, typer.Option(min=0, help="Number of folds: a run each, and one table.")] = 0,
) -> None:
    """Train a classifier of text, alone or fused with speech; evaluate and report.

    The model of text alone opens with AutoModelForSequenceClassification. With
    speech.encoder, speech.fbank or speech.phonemes set, the table's column path
    names audio, and both are fused; contrastive.weight draws them together. dev
    and test are tables of their own, or taken out of train. The same command
    resumes a stopped run.
    """
    from bigfoot.pipeline.train_text import read_text_config, run_text
    from bigfoot.storage.remote import mirrored

    given = {"csv": csv, "model": model}
    settings = [*(f"{key}={value}" for key, value in given.items() if value), *(overrides or [])]
    read = read_text_config(config, settings)
    if seeds or folds:
        from bigfoot.pipeline.repeats import RepeatedRun, run_repeats

        if folds and read.dev:
            raise ConfigError([Problem("--folds", "not_read", "dev is a table of its own; leave it out for folds")])
        repeated = RepeatedRun(read.run_dir, read.seed, "split", read.split.by)
        typer.echo(run_repeats(
            seeds, folds, repeated, lambda changes: run_text(read_text_config(config, [*settings, *changes]))
        ))  # fmt: skip
        return
    place = read.run_dir
    with mirrored(place) as folder:
        read.run_dir = str(folder)
        show_report(run_text(read), folder / "report")
    typer.echo(f"Model: {place}/model")
