"""``bigfoot transcribe``: transcripts of audio files."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bigfoot.cli.options import MODEL_HELP, ForceOption, may_replace
from bigfoot.errors import ConfigError
from bigfoot.paths import MODEL_SUFFIXES
from bigfoot.progress import AUDIO, show_work

if TYPE_CHECKING:
    from bigfoot.decoding.settings import SearchConfig
    from bigfoot.runtime.engine import Engine
    from bigfoot.runtime.transcriber import FrameDecoder, Transcriber
    from bigfoot.text.tokenizer import Tokenizer


AudioArguments = Annotated[
    list[str], typer.Argument(help="Files of any rate and channel count, folders, quoted patterns, or - for a pipe.")
]
OutputOption = Annotated[
    str | None, typer.Option(help="A file for all; or a folder (an old one, or with / behind it) with a file each.")
]
BonusOption = Annotated[
    float | None, typer.Option(help="Bonus for each hot word in a transcript, in nats; 3 by default.")
]


def transcribe(
    model: Annotated[str, typer.Argument(help=f"An .onnx file of bigfoot export, which starts fastest. {MODEL_HELP}")],
    audio: AudioArguments,
    format: Annotated[str, typer.Option(help="txt, json, srt or vtt.")] = "txt",
    output: OutputOption = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; all of the machine's by default.")] = None,
    hotword: Annotated[
        list[str] | None, typer.Option(help="A word or phrase that is likelier in this audio; repeatable.")
    ] = None,
    hotwords: Annotated[str | None, typer.Option(help="A file with a hot word or phrase a line.")] = None,
    hotword_bonus: BonusOption = None,
    beam_size: Annotated[
        int | None, typer.Option(min=1, help="Prefixes that a beam search keeps: 16 with hot words; greedy without.")
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Write text while audio comes, by a file of export --to streaming.")
    ] = False,
    force: ForceOption = False,
) -> None:
    """Transcribe audio files and print the text; an unreadable file is skipped, and the exit code is 1 then.

    txt has one line per file, with the file's name if there are several; json
    has words and segments with their times; srt and vtt are subtitles of up to
    two lines of 42 columns and 7 seconds. In scripts without spaces every
    character is a word. A transcript that bigfoot did not write, or that was
    corrected since, is only overwritten with --force; audio and model never are.

    Hot words are written in the model's characters and case; what these cannot
    write is refused at the start.

    With --stream a line is printed after every pause, and on a terminal what may
    still change; - is then 16-bit samples of one channel, bare or WAV:

    arecord -f S16_LE -r 16000 | bigfoot transcribe --stream streaming.onnx -
    """
    from bigfoot.audio.files import sum_seconds
    from bigfoot.runtime.arguments import Argument, expand_arguments
    from bigfoot.runtime.outputs import check_output, write_transcripts
    from bigfoot.storage.remote import fetch

    model = str(fetch(model))
    if stream:
        unread = {"--output": output, "--hotword": hotword, "--hotwords": hotwords, "--hotword-bonus": hotword_bonus,
                  "--beam-size": beam_size, "--threads": threads}  # fmt: skip
        return _transcribe_stream(model, audio, format, unread)
    search = _search_settings(hotword or [], hotwords, hotword_bonus, beam_size)
    found = expand_arguments(audio)
    arguments = [item for item in found if isinstance(item, Argument)]
    read = [*list_model_files(model), *([Path(hotwords)] if hotwords else [])]
    may = replace(may_replace(force), inputs=read, models=[Path(model)])
    check_output(arguments, format, output, may)
    transcriber, complain = open_transcriber(model, threads, search), partial(typer.echo, err=True)
    with show_work("transcribing", partial(sum_seconds, [each.path for each in arguments]), AUDIO) as work:
        failed = write_transcripts(transcriber, found, format, output, complain, work.advance, may)
    if failed:
        raise typer.Exit(1)


def _transcribe_stream(model: str, audio: list[str], kind: str, unread: Mapping[str, object]) -> None:
    """Transcribe one recording while it comes."""
    from bigfoot.runtime.arguments import Argument, expand_arguments
    from bigfoot.runtime.live import json_writer, stream_problems, text_writer, write_stream
    from bigfoot.runtime.streaming import StreamingTranscriber

    found = expand_arguments(audio)
    if problems := list(stream_problems(len(found), kind, unread)):
        raise ConfigError(problems)
    if not isinstance(found[0], Argument):
        raise found[0]
    beside = sys.stderr if sys.stderr.isatty() else None
    write = json_writer(sys.stdout) if kind == "json" else text_writer(sys.stdout, beside)
    with suppress(KeyboardInterrupt):  # the usual end of a microphone; the rest is written
        write_stream(StreamingTranscriber(model), found[0], write, sys.stdin.buffer)


def list_model_files(model: str) -> list[Path]:
    """Return what is read of a model: its file or folder, and the weights beside an OpenVINO file.

    Args:
        model: argument of the command line.

    Examples:
        >>> list_model_files("."), [path.name for path in list_model_files("a.xml")]
        ([PosixPath('.')], ['a.xml', 'a.bin'])
    """
    path = Path(model)
    return [path, *([path.with_suffix(".bin")] if path.suffix == ".xml" else [])]


def _search_settings(
    hot_words: list[str], hot_words_file: str | None, hot_word_bonus: float | None, beam_size: int | None
) -> SearchConfig | None:
    """Return the search that the options ask for; None for greedy decoding."""
    if hot_word_bonus is not None and not hot_words and hot_words_file is None:
        typer.echo("warning: --hotword-bonus: not read without --hotword or --hotwords", err=True)
    if not hot_words and hot_words_file is None and beam_size is None:
        return None
    from bigfoot.config import find_problems
    from bigfoot.decoding.settings import SearchConfig

    settings = SearchConfig("beam", hot_words=hot_words, hot_words_file=hot_words_file)
    settings.beam_size = beam_size or settings.beam_size
    settings.hot_word_bonus = settings.hot_word_bonus if hot_word_bonus is None else hot_word_bonus
    if problems := list(find_problems(settings)):
        raise ConfigError([replace(problem, key="--hotword-bonus") for problem in problems])
    return settings


def open_transcriber(model: str, threads: int | None, search: SearchConfig | None = None) -> Transcriber:
    """Open a model for transcription: an exported file without torch, anything else with torch.

    Args:
        model: argument of the command line.
        threads: of either runtime.
        search: of the text; None for greedy decoding.
    """
    from bigfoot.runtime.transcriber import Transcriber

    engine = open_any_engine(model, threads)
    decode = None if search is None else _build_decode(search, engine.facts.tokenizer)
    return Transcriber(engine, decode=decode)


def open_any_engine(model: str, threads: int | None) -> Engine:
    """Open an exported file by its runtime, anything else with torch.

    Args:
        model: argument of the command line.
        threads: of either runtime.
    """
    place = Path(model)
    exported = place.is_dir() and not (place / "config.json").exists() and any(place.glob("*.onnx"))
    if exported or place.suffix in MODEL_SUFFIXES:
        from bigfoot.runtime.transcriber import open_engine

        return open_engine(model, threads)
    from bigfoot.evaluation.torch_engine import TorchEngine
    from bigfoot.formats.folder import load_model

    return TorchEngine(load_model(model), threads)


def _build_decode(search: SearchConfig, tokenizer: Tokenizer) -> FrameDecoder | None:
    """Return the search as a transcriber takes it; hot words that cannot come out are refused."""
    from bigfoot.decoding.choose import build_search
    from bigfoot.decoding.frames import decode_frames_by
    from bigfoot.decoding.hot_words import describe_hot_words, hot_word_problems

    if problems := list(hot_word_problems(search, tokenizer)):
        raise ConfigError([replace(problem, key="--hotword") for problem in problems])
    for note in describe_hot_words(search, tokenizer):
        typer.echo(note, err=True)
    found = build_search(search, tokenizer)
    return None if found is None else decode_frames_by(found, tokenizer.blank_id)
