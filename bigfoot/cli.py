"""``bigfoot``: compress, evaluate, look into, benchmark, compare, transcribe and convert models; look at a machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bigfoot.errors import BigfootError, ConfigError

if TYPE_CHECKING:
    from bigfoot.report.rows import Report
    from bigfoot.runtime.transcriber import Transcriber

# Everything heavy is imported inside the commands: --help must not wait for torch.
app = typer.Typer(
    help="Make wav2vec2-like speech models small and fast, and prove what that cost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
DEFAULT_CONFIG = "demo_config.yaml"
MODEL_HELP = (
    "A bigfoot or Hugging Face folder, a hub id, a .pt file of fairseq's or torchaudio's, "
    "torchaudio:BUNDLE, or tiny_teacher."
)
ModelArgument = Annotated[str, typer.Argument(help=MODEL_HELP)]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="key=value, such as student.conv_groups=4", metavar="[KEY=VALUE]...")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")]


@app.command()
def compress(
    overrides: Overrides = None,
    config: Annotated[str, typer.Option(help="YAML file, looked up as given, then under configs/.")] = DEFAULT_CONFIG,
    until: Annotated[
        str, typer.Option(help="Stop after: data, teacher, a step such as distill, or report.")
    ] = "report",
) -> None:
    """From a teacher to a table: make the student, distil, fine-tune, evaluate, report.

    The same command given again goes on where it was stopped and skips what is done.
    """
    from bigfoot.config import read_config
    from bigfoot.pipeline import STAGES, run_pipeline

    if until not in STAGES:
        raise ConfigError([f"--until: {until!r} is none of {', '.join(STAGES)}"])
    settings, problems = read_config(config, overrides or [])
    report = run_pipeline(settings, problems=problems, until=until, config_path=config)
    if report is not None:
        show_report(report, Path(settings.run_dir) / "report")


def show_report(report: Report, folder: Path) -> None:
    """Print the table and where the rest lies.

    Args:
        report: of ``run_pipeline``.
        folder: where it was written.
    """
    from rich.console import Console

    from bigfoot.report.render import render_console

    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(render_console(report))
    console.print(f"Report: {folder / 'report.md'}  (plots, CSV and JSON beside it)", soft_wrap=True)


@app.command()
def evaluate(
    model: ModelArgument,
    overrides: Overrides = None,
    config: Annotated[
        str, typer.Option(help="YAML file whose data and evaluate sections say on what and how.")
    ] = DEFAULT_CONFIG,
    split: Annotated[str, typer.Option(help="dev or test.")] = "test",
    run_dir: Annotated[str, typer.Option(help="Where the manifests are made.")] = "runs/evaluate",
    json_output: JsonOption = False,
) -> None:
    """Word and character error rate of a model on a corpus, with a confidence interval.

    CTC's by evaluate.decoder; where the model has a decoder of its own, that
    one's too, by evaluate.autoregressive.
    """
    from dataclasses import asdict

    from bigfoot.config import load_config
    from bigfoot.data.corpora import prepare_data
    from bigfoot.decoding.choose import decoder_problems
    from bigfoot.evaluation.judge import judge_model
    from bigfoot.formats.folder import load_model

    if split not in ("dev", "test"):
        raise ConfigError([f"--split: {split!r} is neither dev nor test"])
    settings, loaded = load_config(config, overrides or []), load_model(model)
    if problems := list(decoder_problems(settings.evaluate)):
        raise ConfigError(problems)
    tokenizer = loaded.processor.tokenizer
    characters = None if tokenizer is None else tokenizer.characters
    data = prepare_data(settings.data, settings.seed, Path(run_dir) / "data", characters)
    if split not in data.manifests:
        raise ConfigError([f"--split: the corpus has no {split} split; it has {', '.join(data.manifests)}"])
    first, *others = judge_model(loaded, data.manifests[split], settings.evaluate, settings.seed)
    if json_output:
        facts = asdict(first.rate) | ({"by_decoder": asdict(others[0].rate)} if others else {})
        typer.echo(json.dumps(facts, indent=2))
        return
    for found in (first, *others):
        typer.echo(found.describe(split))


@app.command()
def summary(
    model: ModelArgument,
    json_output: JsonOption = False,
) -> None:
    """Every layer of a model with its shapes, parameters and multiply-accumulates.

    Of a YAML file, it is the student that it makes, with its parameters as the paper counts them.
    """
    from bigfoot.formats.folder import load_model
    from bigfoot.measure.summary import render_summary, summarize_model
    from bigfoot.pipeline.preset import summarize_preset

    preset = summarize_preset(model) if model.endswith((".yaml", ".yml")) else None
    facts = summarize_model(load_model(model)) if preset is None else preset.student
    if json_output:
        typer.echo(json.dumps(facts.to_dict() | ({} if preset is None else preset.to_dict()), indent=2))
        return
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 120).print(*render_summary(facts), sep="\n")
    if preset is not None:
        typer.echo("\n".join(preset.describe()))


@app.command()
def benchmark(
    models: Annotated[
        list[str],
        typer.Argument(
            help=f"{MODEL_HELP} Also an .onnx, .xml or .pt2 file. With transformers: before it, plain transformers "
            "runs it. The first is what the others are compared with.",
            metavar="MODEL",
        ),
    ],
    threads: Annotated[str, typer.Option(help="Threads of torch, such as 1 or 1,2.")] = "1",
    seconds: Annotated[str, typer.Option(help="Seconds of audio of an utterance, such as 2,10,30.")] = "10",
    batch: Annotated[str, typer.Option(help="Utterances of a pass, such as 1,8.")] = "1",
    rounds: Annotated[int, typer.Option(help="Counted rounds of each setting; more narrow the spread.")] = 9,
    json_output: JsonOption = False,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON to this file.")] = None,
) -> None:
    """How fast models are beside each other on this machine, how much of it they use, and what holds them back.

    Every combination of threads, seconds and batch is a setting. In each, all
    models run in turn, round by round, in one process, together with a large
    matrix product: the most that this machine can do. Peak memory is that of a
    process of its own for each model.

    faster: the first model's time over this one's, in the same round; median
    and quartiles over the rounds. Give a model twice to see how far two equal
    ones differ here.

    of peak: multiply-accumulates per second of computing over those of the
    matrix product; where it is low there is room.

    A model that is smaller than the first and not faster is named, with the
    part that is to blame. For example:

    bigfoot benchmark teacher student transformers:teacher --threads 1,2
    """
    from rich.console import Console
    from rich.progress import Progress

    from bigfoot.measure.benchmark import measure_benchmark
    from bigfoot.measure.benchmark_plan import plan_warnings, read_plan
    from bigfoot.report.benchmark import render_benchmark
    from bigfoot.report.rows import encode_json, write_whole

    plan = read_plan(models, threads, seconds, batch, rounds)
    for warning in plan_warnings(plan):
        typer.echo(f"warning: {warning}", err=True)
    # Drawn between measurements only: a bar that draws itself would be measured too.
    console, quiet = Console(stderr=True), not sys.stderr.isatty()
    with Progress(console=console, transient=True, auto_refresh=False, disable=quiet) as bar:
        task = bar.add_task("opening models", total=plan.num_ticks)
        bar.refresh()
        measured = measure_benchmark(plan, lambda doing: bar.update(task, advance=1, description=doing, refresh=True))
    encoded = encode_json(measured.to_dict())
    if out is not None:
        write_whole(out, encoded)
    if json_output:
        typer.echo(encoded.decode(), nl=False)
        return
    Console(width=None if sys.stdout.isatty() else 160).print(*render_benchmark(measured), sep="\n")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders with a report, two or more to be of use.")],
    out: Annotated[Path, typer.Option(help="Folder for compare.md, .csv, .json, .html and .png.")] = Path("compare"),
) -> None:
    """One table and one plot over any number of runs."""
    from bigfoot.report.compare import compare_runs, render_comparison_markdown, save_comparison

    comparison = compare_runs(runs)
    save_comparison(comparison, out)
    typer.echo(render_comparison_markdown(comparison))
    typer.echo(f"Comparison: {out / 'compare.html'}  (Markdown, CSV, JSON and plot beside it)")


@app.command()
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
) -> None:
    """Print what a model hears in audio; a bad file costs that file, and the exit code is 1 then.

    Text is a line a file, with its name before it where there are several; json
    has words and segments with their times, srt and vtt are subtitles.
    """
    from bigfoot.runtime.arguments import Argument, expand_arguments
    from bigfoot.runtime.outputs import check_output, write_transcripts

    found = expand_arguments(audio)
    arguments = [item for item in found if isinstance(item, Argument)]
    check_output(arguments, format, output)
    transcriber = open_transcriber(model, threads)
    with heard_bar([argument.path for argument in arguments]) as tell:
        complain = partial(typer.echo, err=True)
        failed = write_transcripts(transcriber, found, format, output, complain, tell)
    if failed:
        raise typer.Exit(1)


def open_transcriber(model: str, threads: int | None) -> Transcriber:
    """Open a model for listening: an exported file without torch, anything else with it.

    Args:
        model: as the command line has it.
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


@contextmanager
def heard_bar(paths: list[Path]) -> Iterator[Callable[[float], None] | None]:
    """A bar of seconds heard, where somebody looks at it.

    Args:
        paths: what will be heard.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    from bigfoot.audio.files import sum_seconds

    # Lines of text go above the bar where both share a screen; into a pipe they go as they are.
    with Progress(console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task("seconds heard", total=sum_seconds(paths) or None)
        yield lambda seconds: bar.update(task, advance=seconds)


@app.command()
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


@app.command()
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

    request = EmbedRequest(audio_dir, output_file, transcripts_dir, layer, pool, chunk_seconds)
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


@app.command()
def convert(
    source: ModelArgument,
    destination: Annotated[Path, typer.Argument(help="Folder to write; an older one there is replaced.")],
    to: Annotated[str, typer.Option(help="bigfoot, huggingface, fairseq or torchaudio.")] = "bigfoot",
    densify: Annotated[
        bool, typer.Option("--densify", help="Write out in full what the format cannot say, such as grouped kernels.")
    ] = False,
    dictionary: Annotated[Path | None, typer.Option(help="fairseq's dict.ltr.txt, where it lies elsewhere.")] = None,
    with_code: Annotated[
        bool, typer.Option("--with-code", help="Add the modelling code, for trust_remote_code without bigfoot.")
    ] = False,
) -> None:
    """Write a model in another format, reloaded and compared on audio before it is called done."""
    from bigfoot.formats.conversion import convert_model
    from bigfoot.formats.folder import load_model
    from bigfoot.formats.registry import FORMATS

    problems = [] if to in FORMATS else [f"--to: {to!r} is none of {', '.join(FORMATS)}"]
    if with_code and to != "bigfoot":
        problems.append(f"--with-code: {to} needs no code of ours; it is for --to bigfoot")
    if problems:
        raise ConfigError(problems)
    loaded = load_model(source, dictionary=dictionary)
    for note in FORMATS[to].notes(loaded.model, loaded.processor):
        typer.echo(f"note: {note}", err=True)
    difference = convert_model(loaded, destination, to=to, dense=densify, with_code=with_code)
    same = "to the bit" if difference == 0 else f"to {difference:.1g} of the largest answer"
    typer.echo(f"{destination}: written as {to}, read back and compared on audio: equal {same}")


@app.command()
def quantize(
    model: ModelArgument,
    destination: Annotated[Path, typer.Argument(help="Folder to write; an old one is replaced.", metavar="OUT")],
    precision: Annotated[
        str, typer.Option(help="float16, bfloat16, int8, int8_dynamic, int8_static; float32 takes it back.")
    ],
    calibrate: Annotated[
        Path | None, typer.Option(help="Real audio for int8_static: a lhotse manifest, a folder or a file.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option(help="Audio on which texts are compared; that of --calibrate by default.")
    ] = None,
    percentile: Annotated[float, typer.Option(help="Of the numbers, how many a static range holds, in %.")] = 100.0,
    keep_fp32: Annotated[
        list[str] | None,
        typer.Option(help="A layer, or pattern, that stays in fp32; as often as wanted.", metavar="PATTERN"),
    ] = None,
) -> None:
    """Write a model folder whose weights take fewer bytes: half with float16 and bfloat16, about a quarter with int8.

    It loads like any other and computes in fp32 with the rounded weights. With
    int8_dynamic and int8_static it also hears what its exported file will hear:
    what goes into its layers is brought to eight bits, with ranges from the
    audio at hand or measured on --calibrate; bigfoot export then writes that
    file with no further option. Do it last: a small model is neither trained
    nor cut. For example:

    bigfoot quantize runs/demo/finetune/model runs/small --precision int8_static --calibrate recordings/
    """
    from bigfoot.export.quantize import QuantizeRequest, run_quantize

    request = QuantizeRequest(
        model, destination, precision, calibrate=calibrate, check=check, percentile=percentile,
        keep_fp32=keep_fp32 or (),
    )  # fmt: skip
    done = run_quantize(request)
    typer.echo(done.change, err=True)
    typer.echo(f"{destination}: {precision}, {done.describe()}")


@app.command()
def export(
    model: ModelArgument,
    destination: Annotated[Path, typer.Argument(help="File to write; an older one there is replaced.", metavar="OUT")],
    to: Annotated[str, typer.Option(help="onnx, openvino (.xml and .bin) or torch-export (.pt2).")] = "onnx",
    int8: Annotated[str | None, typer.Option(help="static (ranges from --calibrate) or dynamic; fp32 without.")] = None,
    calibrate: Annotated[
        Path | None, typer.Option(help="Real audio for static ranges: a lhotse manifest, a folder or a file.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option(help="Audio on which file and model are compared; that of --calibrate by default.")
    ] = None,
    percentile: Annotated[float, typer.Option(help="Of the numbers, how many a static range holds, in %.")] = 100.0,
    max_wer_rise: Annotated[float, typer.Option(help="Points of WER that int8 may cost.")] = 0.5,
    fallback: Annotated[
        bool, typer.Option("--fallback", help="Compute the worst layers in fp32 where the file would be refused.")
    ] = False,
    normalize: Annotated[
        bool, typer.Option("--normalize", help="Bring audio to zero mean and unit variance inside the file.")
    ] = False,
) -> None:
    """Write a model as one file that other runtimes run, compared with the model on audio before it is written.

    Lengths are an input, batch and time are open, vocabulary and metadata are
    inside. An int8 file whose texts are worse than the model's is refused, with
    the layers that are to blame. A folder of bigfoot quantize that computes in
    int8 is written as it says itself, without --int8. For example:

    bigfoot export runs/demo/finetune/model student.onnx --int8 static --calibrate recordings/
    """
    from bigfoot.export.command import ExportRequest, run_export
    from bigfoot.measure.deployed import measure_file_bytes

    request = ExportRequest(
        model, destination, to=to, int8=int8, calibrate=calibrate, check=check, percentile=percentile,
        max_wer_rise=max_wer_rise / 100, fallback=fallback, normalize=normalize,
    )  # fmt: skip
    parity = run_export(request, lambda note: typer.echo(f"note: {note}", err=True))
    typer.echo(f"{destination}: {measure_file_bytes(destination) / 1e6:.1f} MB; {parity.describe()}")


@app.command()
def push(
    model: ModelArgument,
    repository: Annotated[str, typer.Argument(help="owner/name on the hub.", metavar="REPO")],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private, where it is new.")] = False,
    dry_run: Annotated[Path | None, typer.Option(help="Write the folder here and upload nothing.")] = None,
    license: Annotated[str | None, typer.Option(help="Licence of the weights, such as apache-2.0.")] = None,
) -> None:
    """Put a model on the Hugging Face hub, with a card, its report's table, and its code where it needs any."""
    from bigfoot.formats.folder import load_model
    from bigfoot.report.push import push_model, write_upload

    loaded = load_model(model)
    if dry_run is not None:
        write_upload(loaded, repository, dry_run, license)
        typer.echo(f"{dry_run}: what would be uploaded to {repository}")
        return
    typer.echo(push_model(loaded, repository, private=private, license=license))


@app.command()
def doctor(json_output: JsonOption = False) -> None:
    """What is broken on this machine, and the cure; exit code 1 where something is.

    Where this command itself does not start: python -m bigfoot.doctor.
    """
    from bigfoot.doctor import examine, findings_to_dict, render_findings

    findings = examine()
    typer.echo(json.dumps(findings_to_dict(findings), indent=2) if json_output else render_findings(findings))
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)


def main(arguments: list[str] | None = None) -> None:
    """Run a command; what a user caused is said in words, without a traceback.

    Args:
        arguments: of the command line; ``sys.argv``'s by default.

    Raises:
        SystemExit: 0 where all went well, 2 for a wrong configuration, 1 for anything else that was foreseen.
    """
    try:
        app(arguments)
    except BigfootError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2 if isinstance(error, ConfigError) else 1) from None
    except OSError as error:
        # A full disk, a missing right, a file where a folder should be: the system's words name the path.
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
