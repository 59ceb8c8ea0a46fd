"""``bigfoot transcribe``: transcripts of audio files."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bigfoot.cli.options import MODEL_HELP, ForceOption, may_replace
from bigfoot.progress import AUDIO, show_work

if TYPE_CHECKING:
    from bigfoot.runtime.transcriber import Transcriber


def transcribe(
    model: Annotated[str, typer.Argument(help=f"An .onnx file of bigfoot export, which starts fastest. {MODEL_HELP}")],
    audio: Annotated[
        list[str],
        typer.Argument(help="Files of any rate and channel count, folders, quoted patterns, or - for a pipe."),
    ],
    format: Annotated[str, typer.Option(help="txt, json, srt or vtt.")] = "txt",
    output: Annotated[
        str | None, typer.Option(help="A file for all; or a folder (an old one, or with / behind it) with a file each.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="All of the machine's by default.")] = None,
    force: ForceOption = False,
) -> None:
    """Transcribe audio files and print the text; an unreadable file is skipped, and the exit code is 1 then.

    txt has one line per file, with the file's name if there are several; json
    has words and segments with their times; srt and vtt are subtitles. A
    transcript that bigfoot did not write, or that was corrected since, is only
    overwritten with --force; audio and model never are.
    """
    from bigfoot.audio.files import sum_seconds
    from bigfoot.runtime.arguments import Argument, expand_arguments
    from bigfoot.runtime.outputs import check_output, write_transcripts

    found = expand_arguments(audio)
    arguments = [item for item in found if isinstance(item, Argument)]
    read = [Path(model), Path(model).with_suffix(".bin")]
    may = replace(may_replace(force), inputs=read, models=[Path(model)])
    check_output(arguments, format, output, may)
    transcriber = open_transcriber(model, threads)
    total = partial(sum_seconds, [argument.path for argument in arguments])
    with show_work("transcribing", total, AUDIO) as work:
        complain = partial(typer.echo, err=True)
        failed = write_transcripts(transcriber, found, format, output, complain, work.advance, may)
    if failed:
        raise typer.Exit(1)


def open_transcriber(model: str, threads: int | None) -> Transcriber:
    """Open a model for transcription: an exported file without torch, anything else with torch.

    Args:
        model: argument of the command line.
        threads: of either runtime.
    """
    from bigfoot.runtime.transcriber import Transcriber

    place = Path(model)
    exported = place.is_dir() and not (place / "config.json").exists() and any(place.glob("*.onnx"))
    if exported or place.suffix in (".onnx", ".xml"):
        return Transcriber(model, threads)
    from bigfoot.evaluation.torch_engine import TorchEngine
    from bigfoot.formats.folder import load_model

    return Transcriber(TorchEngine(load_model(model), threads))
