"""``bigfoot classify``: the answers of a task model to audio files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bigfoot.runtime.classifier import Classification


def classify(
    model: Annotated[str, typer.Argument(help="An .onnx file of bigfoot export of a task model, or its folder.")],
    audio: Annotated[
        list[str],
        typer.Argument(help="Files of any rate and channel count, folders, quoted patterns, or - for a pipe."),
    ],
    top: Annotated[int, typer.Option(min=1, help="Number of labels to print, with their probabilities.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line instead of text.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; all of the machine's by default.")] = None,
) -> None:
    """Classify, rate or measure audio files; an unreadable file is skipped, and the exit code is 1 then.

    A line has the file, its labels, and the most probable ones; a rating has
    all ratings, a regression its numbers. Only ONNX Runtime is needed.
    """
    from bigfoot.errors import AudioError
    from bigfoot.runtime.arguments import STDIN, expand_arguments, spooled_stdin
    from bigfoot.runtime.classifier import Classification, Classifier

    classifier, failed = Classifier(model, threads, top), False
    for item in expand_arguments(audio):
        if isinstance(item, AudioError):
            found = Classification(item.path, error=item.reason)
        elif str(item.path) == STDIN:
            with spooled_stdin() as path:
                (found,) = classifier.classify([path], lambda _: None)
        else:
            (found,) = classifier.classify([item.path], lambda _: None)
        name = item.path if isinstance(item, AudioError) else item.name
        failed |= found.error is not None
        _show(name, found, as_json)
    if failed:
        raise typer.Exit(1)


def _show(name: str, found: Classification, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found.to_dict() | {"name": name}, ensure_ascii=False))
    elif found.error is not None:
        typer.echo(f"error: {name}: {found.error}", err=True)
    else:
        scores = ", ".join(f"{label} {value:.3f}" for label, value in found.scores.items())
        typer.echo(f"{name}\t{', '.join(found.labels) or '-'}\t{scores}")
