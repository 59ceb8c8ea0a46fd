"""``bigfoot align``: when the words of a text are spoken in its recording."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bigfoot.cli.options import MODEL_HELP, ForceOption, JsonOption, may_replace
from bigfoot.errors import ConfigError
from bigfoot.progress import AUDIO, show_work

if TYPE_CHECKING:
    from bigfoot.alignment.aligner import Aligner, Alignment
    from bigfoot.alignment.calibrate import Calibration
    from bigfoot.alignment.items import Item
    from bigfoot.alignment.lag import Lag
    from bigfoot.audio.account import Account
    from bigfoot.config.problems import Problem
    from bigfoot.runtime.engine import Engine
    from bigfoot.storage.ownership import MayReplace

_PATHS = "A recording; a folder of recordings with texts of their names (a.wav, a.txt); or a table with path and text."


_Model = Annotated[str, typer.Argument(help=f"An .onnx file of bigfoot export, which starts fastest. {MODEL_HELP}")]
_Audio = Annotated[str | None, typer.Argument(help=_PATHS)]
_Text = Annotated[
    str | None, typer.Argument(help="Its words, or a file of text; of a folder, where the texts are elsewhere.")
]
_Format = Annotated[str, typer.Option(help="ctm, json, textgrid, srt or vtt.")]
_Output = Annotated[
    str | None, typer.Option(help="A file for all; or a folder (an old one, or with / behind it) with a file each.")
]
_Unit = Annotated[str, typer.Option(help="Of ctm: words, characters, phonemes or pieces.")]
_Untranscribed = Annotated[
    bool, typer.Option("--untranscribed", help="Speech that is not in the text may stand between any two words.")
]
_LagFile = Annotated[
    str | None, typer.Option(help="The file of --calibrate, or seconds; MODEL.lag.json by default, if there.")
]
_Voice = Annotated[str | None, typer.Option(help="espeak-ng voice: of the text, for phonemes; of --sentences.")]
_Calibrate = Annotated[
    bool, typer.Option("--calibrate", help="Measure the model's lag on espeak-ng's speech; write MODEL.lag.json.")
]
_Sentences = Annotated[
    Path | None, typer.Option(help="With --calibrate: a file of sentences that the model knows, not English.")
]
_Threads = Annotated[int | None, typer.Option(min=1, help="All of the machine's by default.")]


def align(
    model: _Model,
    audio: _Audio = None,
    text: _Text = None,
    format: _Format = "ctm",
    output: _Output = None,
    unit: _Unit = "words",
    untranscribed: _Untranscribed = False,
    lag: _LagFile = None,
    voice: _Voice = None,
    calibrate: _Calibrate = False,
    sentences: _Sentences = None,
    threads: _Threads = None,
    force: ForceOption = False,
    json_output: JsonOption = False,
) -> None:
    """Align texts with recordings: start, end and confidence of words, characters or phonemes.

    One recording:  bigfoot align student.onnx talk.wav talk.txt --format textgrid
    A folder:       bigfoot align student.onnx corpus/ --format json --output times/

    The text may have any case and punctuation. A word with characters that the
    model lacks, such as a number, takes the time that its neighbours leave, and is
    reported. A * between spaces stands for speech that is not transcribed;
    --untranscribed allows it anywhere. json and textgrid hold words and characters.

    CTC models are late, each letter by a time of its own: run --calibrate once for
    a model (it needs espeak-ng), or the times rest on loudness alone.

    A recording or text that cannot be used costs one line, and the exit code is 1
    then. Audio, texts and models are never overwritten.
    """
    from bigfoot.alignment.aligner import Aligner
    from bigfoot.alignment.items import find_items
    from bigfoot.alignment.lag import lag_place
    from bigfoot.cli.transcribe import open_any_engine
    from bigfoot.storage.remote import fetch

    here = str(fetch(model))
    if calibrate:
        _refuse_both(audio)
        kinds = {"--format": format != "ctm", "--unit": unit != "words"}
        _warn_unused("with", kinds | {"--lag": lag is not None, "--untranscribed": untranscribed})
        may = replace(may_replace(force), inputs=_inputs(here, None, sentences), models=[Path(here)])
        return _calibrate(lambda: open_any_engine(here, threads), model, sentences, voice, output, may, json_output)
    audio = _check_arguments(audio, sentences)
    items = find_items(audio, text)
    kind = "json" if json_output and output is None else format
    may = replace(may_replace(force), inputs=_inputs(here, audio, text, lag or lag_place(model)), models=[Path(here)])
    _check(items, kind, unit, output, may)
    engine = open_any_engine(here, threads)
    found, voice = _find_lag(lag, model, engine), _usable_voice(voice, engine)
    aligner = Aligner(engine, lag=found, voice=voice, open_everywhere=untranscribed)
    _check_unit(unit, aligner.unit, here)
    _report(_align(aligner, items, kind, unit, output, may), output, json_output)


def _problem(key: str, code: str, message: str) -> Problem:
    from bigfoot.config.problems import Problem

    return Problem(key, code, message)


def _check_arguments(audio: str | None, sentences: Path | None) -> str:
    if audio is None:
        raise ConfigError([_problem("AUDIO", "missing", "give a recording, a folder or a table; or --calibrate")])
    _warn_unused("without", {"--sentences": sentences is not None})
    return audio


def _check_unit(unit: str, own: str, model: str) -> None:
    if unit not in ("words", own):
        raise ConfigError([_problem("--unit", "unknown_word", f"{model} writes {own}, not {unit!r}")])


def _refuse_both(audio: str | None) -> None:
    if audio is not None:
        raise ConfigError([_problem("--calibrate", "not_read", f"speaks for itself; leave {audio} out")])


def _warn_unused(how: str, given: Mapping[str, bool]) -> None:
    for option in (option for option, is_given in given.items() if is_given):
        typer.echo(f"warning: {option}: not read {how} --calibrate", err=True)


def _usable_voice(voice: str | None, engine: Engine) -> str | None:
    from bigfoot.alignment.plan import needs_voice

    if voice is None or needs_voice(engine.facts.tokenizer):
        return voice
    typer.echo(f"warning: --voice: not read for {engine.facts.name}, which writes letters", err=True)
    return None


def _inputs(model: str, *given: str | Path | None) -> list[Path]:
    """Files that are read and no output replaces; of a folder, its texts."""
    from bigfoot.cli.transcribe import list_model_files

    # A text of the command line may be too long for a path.
    named = [Path(each) for each in given if each and len(str(each)) < 1000]
    texts = [path for folder in named if folder.is_dir() for path in folder.rglob("*.txt")]
    return [path for path in [*list_model_files(model), *named, *texts] if path.is_file()]


def _check(items: Sequence[Item], kind: str, unit: str, output: str | None, may: MayReplace) -> None:
    from bigfoot.alignment.formats import KINDS
    from bigfoot.runtime.outputs import check_output

    if unit not in ("words", "characters", "phonemes", "pieces"):
        raise ConfigError([_problem("--unit", "unknown_word", f"{unit!r} is no unit: words, characters, ...")])
    if unit != "words" and kind != "ctm":
        raise ConfigError([_problem("--unit", "not_read", f"{kind} has its own: leave --unit out, or ask for ctm")])
    check_output([item.argument for item in items if item.argument is not None], kind, output, may, KINDS)


def _find_lag(lag: str | None, model: str, engine: Engine) -> Lag | None:
    """Return the lag that is named, or that lies beside the model."""
    from bigfoot.alignment.lag import Lag, lag_place, read_lag

    if lag is None:
        place = lag_place(model)
        return read_lag(place, engine.facts) if place.is_file() else None
    try:
        seconds = float(lag)
    except ValueError:
        return read_lag(lag, engine.facts)
    if not -2 <= seconds <= 2:
        raise ConfigError([_problem("--lag", "out_of_range", f"{lag} s; expected -2 to 2 s, or a file")])
    return Lag(seconds, -seconds)


def _align(
    aligner: Aligner, items: Sequence[Item], kind: str, unit: str, output: str | None, may: MayReplace
) -> Account:
    from bigfoot.alignment.aligner import align_many
    from bigfoot.alignment.formats import with_unit
    from bigfoot.audio.account import Account, LeftOut
    from bigfoot.audio.recording import Recording
    from bigfoot.runtime.outputs import open_output

    rate = aligner.engine.facts.sample_rate
    opened = [(item.open(rate), item.text) for item in items]
    lengths = [found.seconds if isinstance(found, Recording) else None for found, _ in opened]
    used, left_out, total = 0.0, list[LeftOut](), sum(length or 0.0 for length in lengths)
    with (
        show_work("aligning", total, AUDIO) as work,
        open_output(kind, output, len(items) > 1, may, with_unit(unit)) as write,
    ):
        results = align_many(aligner, opened, work.advance)
        for item, seconds, result in zip(items, lengths, results, strict=True):
            result = replace(result, source=item.argument.name if item.argument else item.name)
            _complain(item, result)
            if result.error is not None:
                left_out.append(LeftOut(item.name, result.error, seconds))
            else:
                used += result.seconds
            write(item.argument, result)
    return Account(len(items) - len(left_out), used, left_out)


def _complain(item: Item, result: Alignment) -> None:
    if result.error is not None:
        typer.echo(f"{item.name}: {result.error}", err=True)
    for warning in result.warnings():
        typer.echo(f"warning: {item.name}: {warning}", err=True)


def _report(account: Account, output: str | None, json_output: bool) -> None:
    if output is not None and json_output:
        typer.echo(json.dumps(account.to_dict(), indent=2))
    elif account.left_out and account.rows > 1:
        typer.echo(account.describe(), err=True)
    if account.left_out:
        raise typer.Exit(1)


def _calibrate(
    open_engine: Callable[[], Engine], model: str, sentences: Path | None, voice: str | None, output: str | None,
    may: MayReplace, json_output: bool,
) -> None:  # fmt: skip
    from bigfoot.alignment.lag import lag_place, lag_to_json
    from bigfoot.storage.lock import locked
    from bigfoot.storage.ownership import check_file
    from bigfoot.storage.places import refuse_inside
    from bigfoot.storage.replace import write_file

    place = Path(output) if output is not None else lag_place(model)
    check_file(place, replace(may, report=lambda _: None))
    refuse_inside(may.models, place)
    with locked(place):
        engine = open_engine()
        found = _measure_lag(engine, sentences, voice)
        write_file(place, lag_to_json(found.lag, engine.facts, found.words), may=may)
    lag = found.lag
    if json_output:
        typer.echo(json.dumps({"start": lag.start, "end": lag.end, "words": found.words, "file": str(place)}))
        return
    typer.echo(
        f"{place}: first tokens come {1000 * lag.start:.0f} ms behind the starts of {found.words} words, last tokens "
        f"end {-1000 * lag.end:.0f} ms before their ends; once taken off, starts vary by {1000 * found.spread:.0f} ms"
    )


def _measure_lag(engine: Engine, sentences: Path | None, voice: str | None) -> Calibration:
    from bigfoot.alignment.aligner import Aligner
    from bigfoot.alignment.calibrate import STRINGS, calibrate
    from bigfoot.data.transcripts import read_text_lines

    lines = [] if sentences is None else [line for line in read_text_lines(sentences) if line.strip()]
    with show_work("calibrating", STRINGS if not lines else None, "texts") as work:
        return calibrate(Aligner(engine, voice=None), lines, voice, work.advance)
