"""``bigfoot convert``: a model in another format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bigfoot.cli.options import ForceOption, ModelArgument, may_replace
from bigfoot.config.problems import Problem
from bigfoot.errors import ConfigError


def convert(
    source: ModelArgument,
    destination: Annotated[Path, typer.Argument(help="Folder to write; one that bigfoot wrote there is replaced.")],
    to: Annotated[str, typer.Option(help="bigfoot, huggingface, fairseq, fairseq2 or torchaudio.")] = "bigfoot",
    densify: Annotated[
        bool, typer.Option("--densify", help="Write in full what the format cannot express, such as grouped kernels.")
    ] = False,
    dictionary: Annotated[
        Path | None, typer.Option(help="fairseq's dict.ltr.txt or fairseq2's .model, where it lies elsewhere.")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(help="For a .pt file of tensors alone: a config.json, folder or hub id of the same shape."),
    ] = None,
    language: Annotated[str | None, typer.Option(help="One of the model's languages (MMS), to bake in.")] = None,
    drop_head: Annotated[bool, typer.Option("--drop-head", help="Leave out the CTC head and its vocabulary.")] = False,
    with_code: Annotated[
        bool, typer.Option("--with-code", help="Add the modelling code, for trust_remote_code without bigfoot.")
    ] = False,
    force: ForceOption = False,
) -> None:
    """Write a model in another format; it is reloaded and compared on audio."""
    from bigfoot.formats.conversion import convert_model
    from bigfoot.formats.folder import load_model
    from bigfoot.formats.registry import FORMATS
    from bigfoot.storage.remote import mirrored

    if problems := list(_find_problems(to, with_code, FORMATS)):
        raise ConfigError(problems)
    may = replace(may_replace(force), inputs=[dictionary] if dictionary else [])
    loaded = load_model(source, dictionary=dictionary, config=config, language=language)
    for note in FORMATS[to].notes(loaded.model, loaded.processor):
        typer.echo(f"note: {note}", err=True)
    with mirrored(destination) as folder:
        difference = convert_model(
            loaded, folder, to=to, dense=densify, drop_head=drop_head, with_code=with_code, may=may
        )
    typer.echo(f"{destination}: written as {to}, read back and compared on audio: equal {_describe(difference)}")


def _find_problems(to: str, with_code: bool, known: Iterable[str]) -> Iterator[Problem]:
    if to not in known:
        yield Problem("--to", "unknown_word", f"{to!r} is none of {', '.join(known)}")
    if with_code and to != "bigfoot":
        yield Problem("--with-code", "not_read", f"{to} needs no code of ours; it is for --to bigfoot")


def _describe(difference: float) -> str:
    return "to the bit" if difference == 0 else f"to {difference:.1g} of the largest output"
