"""``bigfoot generate``: text of a model's autoregressive decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bigfoot.cli.options import ModelArgument


def generate(
    model: ModelArgument,
    audio: Annotated[Path, typer.Option(help="A recording of any rate and channel count.")],
    prompt: Annotated[str, typer.Option(help="Start of the text.")] = "",
    beam_size: Annotated[int, typer.Option(help="Hypotheses kept in the beam; 1 is greedy.", min=1)] = 1,
    max_tokens: Annotated[int, typer.Option(help="Longest text, in the decoder's tokens.", min=1)] = 1000,
) -> None:
    """Print the hypothesis of a model's decoder for a recording, continuing a prompt.

    A recording longer than 40 seconds is cut at its pauses and transcribed in
    pieces; their texts are concatenated, and the prompt starts the first.
    """
    from bigfoot.decoding.settings import DecodingConfig
    from bigfoot.evaluation.generate import generate_text
    from bigfoot.formats.folder import load_model

    found = generate_text(load_model(model), audio, prompt, DecodingConfig(beam_size, max_tokens=max_tokens))
    typer.echo(found.text)
    if found.ended == "repetition":
        typer.echo("the text was cut at a repetition loop", err=True)
