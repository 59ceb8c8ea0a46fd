"""``bigfoot push``: a model on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bigfoot.cli.options import ForceOption, ModelArgument, may_replace


def push(
    model: ModelArgument,
    repository: Annotated[str, typer.Argument(help="owner/name on the hub.", metavar="REPO")],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private, where it is new.")] = False,
    dry_run: Annotated[Path | None, typer.Option(help="Write the folder here and upload nothing.")] = None,
    license: Annotated[str | None, typer.Option(help="Licence of the weights, such as apache-2.0.")] = None,
    force: ForceOption = False,
) -> None:
    """Put a model on the Hugging Face hub, with a card, its report's table, and its code where it needs any."""
    from bigfoot.formats.folder import load_model
    from bigfoot.report.push import push_model, write_upload

    loaded = load_model(model)
    if dry_run is not None:
        if private:
            typer.echo("warning: --private: not read with --dry-run, which makes no repository", err=True)
        write_upload(loaded, repository, dry_run, license, may_replace(force))
        typer.echo(f"{dry_run}: what would be uploaded to {repository}")
        return
    typer.echo(push_model(loaded, repository, private=private, license=license))
