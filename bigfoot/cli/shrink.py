"""``bigfoot shrink``: a smaller model in a minute, without training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bigfoot.cli.options import ForceOption, JsonOption, ModelArgument, may_replace

if TYPE_CHECKING:
    from bigfoot.export.shrink import ShrinkReport


def shrink(
    model: ModelArgument,
    destination: Annotated[
        Path, typer.Argument(help="Folder to write; one that bigfoot wrote there is replaced.", metavar="OUT")
    ],
    audio: Annotated[Path, typer.Option(help="Unlabelled speech: a folder, a file or a lhotse manifest.")],
    target: Annotated[float, typer.Option(help="Share of the model that stays, above 0, up to 1.")] = 0.5,
    measure: Annotated[str, typer.Option(help="What the share is of: macs, params, mb or rtf.")] = "macs",
    cuts: Annotated[
        list[str] | None,
        typer.Option("--cut", help="A kind of cut; repeatable. heads, feed_forward and conv by default."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds in which cuts are measured anew.")] = 4,
    seconds: Annotated[float, typer.Option(min=1.0, help="Audio for the search.")] = 60.0,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 0,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a smaller model folder without training: what is cut is chosen on audio, the rest makes up for it.

    Attention heads, feed-forward units, channels and more are cut where the
    model's outputs change least, and the maps behind them are fitted in
    closed form. A minute of unlabelled speech and two cores are enough. The
    folder is like any other: evaluate it, export it, distill from the whole
    model into it. For example:

    bigfoot shrink runs/demo/teacher runs/half --audio recordings/ --target 0.5
    """
    from bigfoot.compress.settings import Shrink
    from bigfoot.compress.shrink.kinds import DEFAULT
    from bigfoot.export.shrink import ShrinkRequest, run_shrink
    from bigfoot.storage.remote import mirrored

    settings = Shrink(target, measure, list(cuts or DEFAULT), rounds, seed)
    with mirrored(destination) as folder:
        request = ShrinkRequest(model, folder, audio, settings, seconds, may=may_replace(force))
        report = run_shrink(request, lambda note: typer.echo(f"note: {note}", err=True))
    if as_json:
        typer.echo(report.to_json())
        return
    _print_tables(report)
    typer.echo(f"{destination}: {report.share:.1%} of {measure}, report in shrink.json")


def _print_tables(report: ShrinkReport) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120)
    cut = Table("what was cut", "before", "after", "by layer")
    for row in report.rows:
        cut.add_row(row.words, f"{row.before:,}", f"{row.after:,}", " ".join(map(str, row.by_layer)))
    sizes = Table("size", "before", "after", "share")
    words = {"macs_per_second": "million MACs/s of audio", "params": "million parameters", "megabytes": "MB"}
    for name, (before, after) in report.sizes.items():
        scale = 1.0 if name == "megabytes" else 1e6
        sizes.add_row(words[name], f"{before / scale:,.2f}", f"{after / scale:,.2f}", f"{after / before:.1%}")
    console.print(cut, sizes)
    judged = report.judgement
    what = "relative squared error" if judged.frames_changed is None else "nats a frame to the whole model's posteriors"
    console.print(
        f"Held-out error: {judged.error:.4f} {what}, 95 % from {judged.low:.4f} to {judged.high:.4f} over utterances"
        + ("" if judged.frames_changed is None else f"; {judged.frames_changed:.1%} of frames have another token"),
    )
    seen = "that the search did not see" if judged.unseen else "that the search measured on, which flatters it"
    took = f"{report.processor_seconds:.0f} s of processor time"
    console.print(f"Measured on {judged.seconds:.0f} s of audio {seen}; {took}.")
