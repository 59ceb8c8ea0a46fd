"""``bigfoot describe``: what a corpus holds, as tables, page and JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bigfoot.cli.options import DEFAULT_CONFIG, DataConfigName, Overrides, Prepared, name_default
from bigfoot.config.problems import Problem
from bigfoot.errors import ConfigError

if TYPE_CHECKING:
    from bigfoot.data.manifests import PreparedData


def describe(
    out: Annotated[Path, typer.Option(help="Folder for describe.html, describe.json, describe.md and describe.png.")],
    overrides: Overrides = None,
    config: DataConfigName = None,
    prepared: Prepared = None,
) -> None:
    """Describe a corpus: hours, lengths, labels, missing values, correlations, and what is left out and why.

    Every file is read (data.verify_audio=false reads headers only); one that
    is bad is a line of the description. Without data.labels all labels are
    described that there are: the other columns of a table.
    """
    if prepared is not None and (config or overrides):
        message = "manifests are described as they are; --config and KEY=VALUE go without --prepared"
        raise ConfigError([Problem("--prepared", "not_read", message)])
    # Only now: --help must not wait for lhotse.
    from rich.console import Console

    from bigfoot.data.describe import describe_corpus
    from bigfoot.report.corpus import render_tables
    from bigfoot.report.corpus_page import save_description
    from bigfoot.storage.lock import locked
    from bigfoot.storage.remote import mirrored

    # Settings are read before anything is made in the folder.
    get_data, name = _choose_data(prepared, config, overrides or [])
    with mirrored(out) as folder, locked(folder, inside=True):
        facts = describe_corpus(get_data(folder / "data"), name)
        save_description(facts, folder)
    console = Console(width=None if sys.stdout.isatty() else 120)
    for table in render_tables(facts, console.width):
        console.print(table)
    console.print(f"Description: {out / 'describe.html'}  (Markdown, JSON and plot beside it)", soft_wrap=True)


def _choose_data(
    prepared: Path | None, config: str | None, overrides: list[str]
) -> tuple[Callable[[Path], PreparedData], str]:
    """Return what prepares the data in a folder, and the corpus's name."""
    from dataclasses import replace

    from bigfoot.data.corpora import prepare_data
    from bigfoot.data.manifests import load_prepared
    from bigfoot.data.settings import ALL_LABELS
    from bigfoot.pipeline.settings import load_config

    if prepared is not None:
        found = load_prepared(prepared)
        return lambda _: found, str(prepared)
    settings = load_config(config or name_default(DEFAULT_CONFIG), overrides)
    data = settings.data if settings.data.labels else replace(settings.data, labels=[ALL_LABELS])
    # No vocabulary: what is described is the corpus, not how it suits a model.
    return lambda folder: prepare_data(data, settings.seed, folder), data.corpus
