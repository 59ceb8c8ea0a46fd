"""``bigfoot plan``: students that keep a budget, before any training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bigfoot.cli.options import DEFAULT_CONFIG, MODEL_HELP, ForceOption, JsonOption, may_replace, name_default

if TYPE_CHECKING:
    from bigfoot.planner.written import Plan


def plan(
    teacher: Annotated[str, typer.Option(help=MODEL_HELP)],
    max_size: Annotated[str | None, typer.Option(help="Of the exported file, such as 25MB.")] = None,
    max_rtf: Annotated[
        float | None, typer.Option(help="Seconds of computing per second of audio, on this machine, such as 0.05.")
    ] = None,
    max_macs: Annotated[
        float | None, typer.Option(help="Multiply-accumulates per second of audio, such as 1e9.")
    ] = None,
    runtime: Annotated[str, typer.Option(help="onnx, openvino or pytorch (which has no int8).")] = "onnx",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    config: Annotated[
        str | None,
        typer.Option(help=f"YAML file or name of bigfoot configs, for data and training; {DEFAULT_CONFIG} by default."),
    ] = None,
    results: Annotated[
        list[str] | None,
        typer.Option(help="Run folders of your own, to expect errors from in place of bigfoot's results; repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the plan.")] = Path("plan"),
    json_output: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Propose students of a teacher that keep a budget, as configurations that are ready to run.

    Of four kinds (fewer layers, thinner everywhere, and both in int8) the
    student that keeps most of the teacher within the budget; the best three are
    written. Size and speed are measured on this machine, on random weights of
    that shape. The error is expected from students that were trained, with its
    uncertainty; what the plan does not know is listed. For example:

    bigfoot plan --teacher tiny_teacher --max-size 2MB --max-rtf 0.05
    """
    from bigfoot.planner.written import describe_plan, render_plan, save_plan
    from bigfoot.report.files import encode_json

    made = _make(teacher, (max_size, max_rtf, max_macs), (runtime, threads), config, results or [])
    written = save_plan(made, out, may_replace(force))
    if json_output:
        typer.echo(encode_json(describe_plan(made)).decode(), nl=False)
        return
    _show(render_plan(made))
    for path in written:
        typer.echo(f"bigfoot compress --config {path}")


def _show(page: str) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(Markdown(page) if sys.stdout.isatty() else page, markup=False, highlight=False)


def _make(
    teacher: str, limits: tuple[str | None, float | None, float | None], timed: tuple[str, int], config: str | None,
    results: list[str],
) -> Plan:  # fmt: skip
    from bigfoot.config.problems import Problem
    from bigfoot.errors import ConfigError
    from bigfoot.formats.folder import outline_model
    from bigfoot.measure.speed import name_processor
    from bigfoot.pipeline.settings import load_config
    from bigfoot.planner.budget import Budget, read_size
    from bigfoot.planner.known import KNOWN_ROWS
    from bigfoot.planner.ladders import Candidate, count
    from bigfoot.planner.measured import RUNTIMES, Bench
    from bigfoot.planner.own_rows import read_own_rows
    from bigfoot.planner.propose import propose
    from bigfoot.planner.written import Plan
    from bigfoot.progress import show_work

    if timed[0] not in RUNTIMES:
        raise ConfigError([Problem("--runtime", "unknown_word", f"{timed[0]!r} is none of {', '.join(RUNTIMES)}")])
    budget = Budget(None if limits[0] is None else read_size(limits[0]), limits[1], limits[2])
    base = config or name_default(DEFAULT_CONFIG)
    load_config(base)
    rows = read_own_rows(results) if results else list(KNOWN_ROWS)
    outline = outline_model(teacher)
    bench = Bench(timed[0], outline.processor, threads=timed[1])
    with show_work("planning", live=False) as work:
        proposals = propose(outline.config, budget, bench, rows, lambda doing: work.advance(note=doing))
    params = count(Candidate("teacher", {}, outline.config)).num_params
    return Plan(teacher, params, budget, bench, name_processor(), base, rows, proposals, bool(results))
