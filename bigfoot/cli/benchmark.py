"""``bigfoot benchmark``: the relative speed of models."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bigfoot.cli.options import MODEL_HELP, JsonOption

if TYPE_CHECKING:
    from bigfoot.measure.benchmark import Benchmark
    from bigfoot.measure.benchmark_plan import BenchmarkPlan


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
    """Measure the speed of models on this machine, their share of its peak, and their bottlenecks.

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

    from bigfoot.measure.benchmark_plan import plan_warnings, read_plan
    from bigfoot.report.benchmark import render_benchmark
    from bigfoot.report.files import check_whole, encode_json, write_whole
    from bigfoot.storage.lock import locked

    if out is not None:
        check_whole(out, sign=out.name, key="models")
    plan = read_plan(models, threads, seconds, batch, rounds)
    for warning in plan_warnings(plan):
        typer.echo(f"warning: {warning}", err=True)
    with nullcontext() if out is None else locked(out):
        measured = _measure(plan)
        encoded = encode_json(measured.to_dict())
        if out is not None:
            write_whole(out, encoded, sign=out.name, key="models")
    if json_output:
        typer.echo(encoded.decode(), nl=False)
        return
    Console(width=None if sys.stdout.isatty() else 160).print(*render_benchmark(measured), sep="\n")


def _measure(plan: BenchmarkPlan) -> Benchmark:
    from bigfoot.measure.benchmark import measure_benchmark
    from bigfoot.progress import show_work

    # Drawn between measurements only: a bar that refreshes itself would be measured too.
    with show_work("measuring speed", plan.num_ticks, "rounds", live=False) as work:
        return measure_benchmark(plan, lambda doing: work.advance(note=doing))
