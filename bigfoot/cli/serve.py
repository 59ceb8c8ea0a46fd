"""``bigfoot serve``: transcripts over HTTP."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from bigfoot.cli.options import MODEL_HELP
from bigfoot.cli.transcribe import open_transcriber
from bigfoot.config.problems import Problem
from bigfoot.errors import ConfigError, MissingExtraError
from bigfoot.paths import MODEL_SUFFIXES


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            help=f"NAME=MODEL, or MODEL, named by its file or folder. {MODEL_HELP} Best an .onnx file.",
            metavar="MODEL",
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all of the machine's.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8000,
    threads: Annotated[int | None, typer.Option(min=1, help="All of the machine's by default.")] = None,
    max_requests: Annotated[int, typer.Option(help="In flight at once; further ones get 429.")] = 64,
    max_megabytes: Annotated[float, typer.Option(help="Of an upload.")] = 100.0,
    max_seconds: Annotated[float, typer.Option(help="Of audio in an upload.")] = 7200.0,
    timeout: Annotated[float, typer.Option(help="Seconds for an upload, and for its transcript.")] = 300.0,
    grace: Annotated[float, typer.Option(help="Seconds for requests in flight when it is stopped.")] = 60.0,
    max_streams: Annotated[int, typer.Option(help="Websockets at once; further ones get 429.")] = 16,
    idle: Annotated[float, typer.Option(help="Seconds without audio after which a stream is closed.")] = 30.0,
) -> None:
    """Serve models over HTTP, with the interface of OpenAI's transcriptions.

    POST /v1/audio/transcriptions takes file, model and response_format (json,
    text, srt, vtt, verbose_json); /v1/audio/stream is a websocket that takes
    audio as it is recorded; /v1/models lists the models, /health and /metrics
    (Prometheus) are for operation. Requests that come together are computed
    together; texts are those of bigfoot transcribe. There are no
    accounts and no encryption: put a proxy in front of it. For example:

    bigfoot serve student.onnx --port 8000
    """
    try:
        import python_multipart  # noqa: F401 - their absence would only show at the first upload
        import wsproto  # noqa: F401

        from bigfoot.serve.application import build_app
        from bigfoot.serve.limits import Limits
        from bigfoot.serve.server import run_server
    except ModuleNotFoundError as error:
        raise MissingExtraError.of_import(error) or error from error
    from bigfoot.storage.remote import fetch

    limits = Limits(max_requests, max_megabytes, max_seconds, timeout, grace, max_streams, idle)
    named = name_models(models)
    if problems := list(limits.find_problems()):
        raise ConfigError(problems)
    opened = {name: open_transcriber(str(fetch(model)), threads) for name, model in named.items()}
    app = build_app(opened, limits)
    run_server(app, host, port, grace, lambda address: typer.echo(f"{', '.join(opened)}: {address}", err=True))


def name_models(models: list[str]) -> dict[str, str]:
    """Return models by the name that a request gives.

    Args:
        models: of the command line.

    Raises:
        ConfigError: two of one name.

    Examples:
        >>> name_models(["runs/student.onnx", "large=runs/teacher"])
        {'student': 'runs/student.onnx', 'large': 'runs/teacher'}
    """
    found: dict[str, str] = {}
    for model in models:
        given, equals, place = model.partition("=")
        is_named = equals and os.sep not in given and place
        path = Path(place if is_named else model)
        plain = path.stem if path.suffix in MODEL_SUFFIXES else path.name
        name = given if is_named else plain
        if name in found:
            raise ConfigError([Problem("MODEL", "same_name", f"two are called {name!r}; write NAME=MODEL")])
        found[name] = str(place if is_named else model)
    return found
