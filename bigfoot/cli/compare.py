"""``bigfoot compare``: one table and one plot over runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders with a report, two or more to be of use.")],
    out: Annotated[Path, typer.Option(help="Folder for compare.md, .csv, .json, .html and .png.")] = Path("compare"),
) -> None:
    """Write one table and one plot over any number of runs."""
    from bigfoot.report.compare import compare_runs, render_comparison_markdown, save_comparison

    comparison = compare_runs(runs)
    save_comparison(comparison, out)
    typer.echo(render_comparison_markdown(comparison))
    typer.echo(f"Comparison: {out / 'compare.html'}  (Markdown, CSV, JSON and plot beside it)")
