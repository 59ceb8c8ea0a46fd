"""``bigfoot listen``: models side by side, by ear and eye."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bigfoot.cli.transcribe import open_any_engine
from bigfoot.config.problems import Problem
from bigfoot.errors import ConfigError, MissingExtraError, ModelError


def listen(
    runs: Annotated[
        list[str],
        typer.Argument(help="Folders of runs with their reports, exported files, or model folders.", metavar="RUN"),
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on; browsers lend a microphone to this machine's own alone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8001,
    threads: Annotated[int, typer.Option(min=1, help="Of a model.")] = 1,
    max_seconds: Annotated[float, typer.Option(help="Of audio in a recording.")] = 120.0,
) -> None:
    """Show models side by side on a page in the browser.

    Choose models, record or upload speech, or take the worst utterances of the
    runs' reports: each model's words with their times and confidences on the
    waveform, its errors where the text is known, and its speed and size. A
    click plays a word. For example:

    bigfoot listen runs/demo
    """
    try:
        import python_multipart  # noqa: F401 - its absence would only show at the first upload

        from bigfoot.serve.limits import Limits
        from bigfoot.serve.listen.application import build_page
        from bigfoot.serve.listen.models import OpenedModels, list_models
        from bigfoot.serve.server import run_server
    except ModuleNotFoundError as error:
        raise MissingExtraError.of_import(error) or error from error

    if not max_seconds > 0:
        raise ConfigError([Problem("--max-seconds", "out_of_range", f"should be above 0, and is {max_seconds:g}")])
    listed = list_models(runs, locate_model)
    app = build_page(
        listed, OpenedModels(listed.models, partial(open_any_engine, threads=threads)), Limits(seconds=max_seconds)
    )
    run_server(app, host, port, 1.0, lambda address: typer.echo(f"open {address} in a browser", err=True))


def locate_model(name: str) -> Path:
    """Return the place of a model: of this machine, a bucket, the Hugging Face cache, or one that ships with bigfoot.

    Args:
        name: of the command line, or of a report; what is found nowhere comes back as it is.
    """
    from bigfoot.storage.remote import fetch

    place = fetch(name)
    if place.exists():
        return place
    from bigfoot.formats.folder import resolve_model

    try:
        return resolve_model(name)
    except ModelError:
        return place
