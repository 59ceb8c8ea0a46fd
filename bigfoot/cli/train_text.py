"""``bigfoot train-text``: a classifier of text, alone or fused with speech, from a table to a report."""

from __future__ import annotations

from typing import Annotated

import typer

from bigfoot.cli.compress import show_report
from bigfoot.cli.options import Overrides


def train_text(
    overrides: Overrides = None,
    csv: Annotated[
        str, typer.Option(help="Table to train on: CSV, TSV or JSONL with the columns text and label.")
    ] = "",
    model: Annotated[str, typer.Option(help="Folder or hub id of a text encoder in transformers' format.")] = "",
    config: Annotated[str | None, typer.Option(help="YAML file of these settings.")] = None,
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
    settings = [f"{key}={value}" for key, value in given.items() if value]
    read = read_text_config(config, [*settings, *(overrides or [])])
    place = read.run_dir
    with mirrored(place) as folder:
        read.run_dir = str(folder)
        show_report(run_text(read), folder / "report")
    typer.echo(f"Model: {place}/model")
