"""``bigfoot embed``: embeddings of recordings."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bigfoot.cli.options import ForceOption, ModelArgument, may_replace
from bigfoot.cli.progress import heard_bar
from bigfoot.errors import ConfigError


def embed(
    model: ModelArgument,
    audio_dir: Annotated[
        Path, typer.Option("--audio_dir", "--audio-dir", help="Folder of recordings, looked through to the bottom.")
    ],
    output_file: Annotated[
        Path, typer.Option("--output_file", "--output-file", help="A .safetensors file; its index goes beside it.")
    ],
    transcripts_dir: Annotated[
        Path | None,
        typer.Option("--transcripts_dir", "--transcripts-dir", help="Folder of texts: a/b.txt is that of a/b.wav."),
    ] = None,
    layer: Annotated[
        str, typer.Option(help="last: what the head hears; a number, 0 the input of the first layer; or all.")
    ] = "last",
    pool: Annotated[str, typer.Option(help="mean: a vector a recording or piece; none: one a frame.")] = "mean",
    chunk_seconds: Annotated[
        float, typer.Option("--chunk_seconds", "--chunk-seconds", help="What is longer is cut at its pauses.")
    ] = 40.0,
    threads: Annotated[int | None, typer.Option(min=1, help="Of PyTorch; all of the machine's by default.")] = None,
    force: ForceOption = False,
) -> None:
    """Write what a model makes of recordings inside: embeddings of any layer, a vector each or one a frame.

    The file holds a tensor for every recording, (D,) or (frames, D), all layers
    before that where they are asked for, and beside it lies its index, a line
    of JSON a tensor: key, name, text, start and end in seconds, layer, shape. A
    recording that is longer than chunk_seconds is cut at its pauses: its
    pieces are NAME#1, NAME#2, ..., and their frames, one behind the other, are
    the recording's. Their text is split by where the model's CTC head hears its
    words; of a model without one, long recordings go without text.

    Recordings are heard one by one, so that none depends on another. A bad file
    costs that file and a line, and the exit code is 1 then; recordings without
    a text and texts without a recording are listed. The same command given
    again after it was killed goes on where it was, and gives the same file.
    """
    from bigfoot.data.pairs import pair_by_name
    from bigfoot.embedding.embed import EmbedRequest, embed_folder
    from bigfoot.formats.folder import load_model

    request = EmbedRequest(audio_dir, output_file, transcripts_dir, layer, pool, chunk_seconds, may_replace(force))
    if problems := list(request.problems()):
        raise ConfigError(problems)
    loaded = load_model(model)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    with heard_bar([pair.audio for pair in pair_by_name(audio_dir, transcripts_dir).pairs]) as tell:
        summary = embed_folder(loaded, request, partial(typer.echo, err=True), tell)
    for note in summary.notes():
        typer.echo(note, err=True)
    typer.echo(summary.describe(output_file))
    if summary.failed:
        raise typer.Exit(1)
