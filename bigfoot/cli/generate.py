"""``bigfoot generate``: text of a model's autoregressive decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bigfoot.cli.options import ModelArgument


def generate(
    model: ModelArgument,
    audio: Annotated[Path, typer.Option(help="A recording of any rate and channel count.")],
    prompt: Annotated[str, typer.Option(help="What the text begins with.")] = "",
    beam_size: Annotated[int, typer.Option(help="Texts that are followed at once; 1 is greedy.", min=1)] = 1,
    max_tokens: Annotated[int, typer.Option(help="Longest text, in the decoder's tokens.", min=1)] = 1000,
) -> None:
    """Print what a model's decoder writes about a recording, going on from a prompt.

    A recording longer than 40 seconds is heard in pieces, cut at its pauses,
    whose texts stand one behind the other; the prompt begins the first.
    """
    from bigfoot.config import DecodingConfig
    from bigfoot.evaluation.generate import generate_text
    from bigfoot.formats.folder import load_model

    found = generate_text(load_model(model), audio, prompt, DecodingConfig(beam_size, max_tokens=max_tokens))
    typer.echo(found.text)
    if found.ended == "repetition":
        typer.echo("the text went in circles and was cut", err=True)
