"""``bigfoot embed``: embeddings of recordings."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bigfoot.cli.options import ForceOption, JsonOption, ModelArgument, may_replace
from bigfoot.errors import ConfigError
from bigfoot.progress import AUDIO, show_work

if TYPE_CHECKING:
    from bigfoot.embedding.embed import EmbedRequest, EmbedSummary


def embed(
    model: ModelArgument,
    audio_dir: Annotated[
        Path, typer.Option("--audio_dir", "--audio-dir", help="Folder of recordings, searched recursively.")
    ],
    output_file: Annotated[
        Path, typer.Option("--output_file", "--output-file", help="A .safetensors file; its index goes beside it.")
    ],
    transcripts_dir: Annotated[
        Path | None,
        typer.Option("--transcripts_dir", "--transcripts-dir", help="Folder of texts: a/b.txt is that of a/b.wav."),
    ] = None,
    layer: Annotated[
        str, typer.Option(help="last: the head's input; a number, 0 the input of the first layer; all; or adapter.")
    ] = "last",
    pool: Annotated[str, typer.Option(help="mean: one vector per recording or piece; none: one per frame.")] = "mean",
    chunk_seconds: Annotated[
        float, typer.Option("--chunk_seconds", "--chunk-seconds", help="Longer recordings are cut at their pauses.")
    ] = 40.0,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; all of the machine's by default.")] = None,
    force: ForceOption = False,
    json_output: JsonOption = False,
) -> None:
    """Write embeddings of recordings, from any layer: one vector per recording or one per frame.

    The file holds one tensor per recording: (D,) or (frames, D), with a leading
    dimension of layers for all. The layer adapter is what the language model of a
    speech LLM takes in place of text. Its index has one line of JSON per tensor: key,
    name, text, start and end in seconds, layer, shape. A recording longer than
    chunk_seconds is cut at its pauses into NAME#1, NAME#2, ...; their frames
    concatenated are the recording's. Its text is split by the alignment of the
    model's CTC head; without a CTC head, long recordings have no text.

    Recordings are computed one by one, so that none depends on another. An
    unreadable file is reported and skipped, and the exit code is 1 then.
    Recordings without a text and texts without a recording are listed. After a
    kill, the same command resumes and writes the same file; one in the cloud is
    written at the end, as a whole.
    """
    from bigfoot.embedding.embed import EmbedRequest
    from bigfoot.storage.remote import fetch, written

    request = EmbedRequest(audio_dir, output_file, transcripts_dir, layer, pool, chunk_seconds, may_replace(force))
    if problems := list(request.find_problems()):
        raise ConfigError(problems)
    texts = None if transcripts_dir is None else fetch(transcripts_dir)
    _take_threads(threads)
    with written(output_file, force) as file:
        here = replace(request, audio_dir=fetch(audio_dir), output=file, transcripts_dir=texts)
        summary = _embed(model, here)
        _report(summary, file, output_file, json_output)
    if summary.failed:
        raise typer.Exit(1)


def _embed(model: str, request: EmbedRequest) -> EmbedSummary:
    from bigfoot.audio.files import sum_seconds
    from bigfoot.data.pairs import pair_by_name
    from bigfoot.embedding.embed import embed_folder
    from bigfoot.formats.speech_llm import load_encoder
    from bigfoot.storage.places import is_remote
    from bigfoot.storage.remote import fetch

    loaded = load_encoder(fetch(model) if is_remote(model) else model)
    pairs = pair_by_name(request.audio_dir, request.transcripts_dir).pairs
    with show_work("embedding", partial(sum_seconds, [pair.audio for pair in pairs]), AUDIO) as work:
        return embed_folder(loaded, request, partial(typer.echo, err=True), work.advance)


def _take_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _report(summary: EmbedSummary, file: Path, place: Path, json_output: bool) -> None:
    from bigfoot.embedding.account import read_account

    for note in summary.notes():
        typer.echo(note, err=True)
    account = read_account(file, summary.folders.pairs)
    if json_output:
        typer.echo(json.dumps({"tensors": summary.tensors, **account.to_dict()}, indent=2))
        return
    typer.echo(summary.describe(place))
    if account.left_out:
        typer.echo(account.describe())
