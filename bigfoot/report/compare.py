"""Compare any number of runs in one table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bigfoot.errors import DataError
from bigfoot.report.columns import COLUMNS, Column, sort_rows
from bigfoot.report.files import encode_json, encode_text, write_set
from bigfoot.report.page import draw_tradeoffs, render_page, tabulate_rows
from bigfoot.report.plots import draw_wer_vs_size, render_png
from bigfoot.report.render import escape, render_table
from bigfoot.report.rows import Row, load_report
from bigfoot.report.spreadsheet import render_csv

_COLUMNS = (COLUMNS[0], Column("split", lambda row: row.split), *COLUMNS[1:])


@dataclass(frozen=True)
class ComparedRow:
    """A row and its run.

    Args:
        run: name of the run, unique in its comparison.
        folder: of its report.
        row: of the report.
    """

    run: str
    folder: str
    row: Row


@dataclass(frozen=True)
class Comparison:
    """Rows of several runs.

    Args:
        rows: run after run, the teacher of each first.
        warnings: why some of the rows cannot be compared with others, one sentence each.
    """

    rows: list[ComparedRow]
    warnings: list[str]


def compare_runs(folders: Sequence[str | Path]) -> Comparison:
    """Read the reports of runs.

    Args:
        folders: run folders (with ``report/report.json``) or report folders, one or more.

    Returns:
        All their rows, with warnings where they were measured differently.

    Raises:
        DataError: no folders, a repeated one, or one without a report; all such folders are reported at once.

    Examples:
        >>> import tempfile
        >>> from bigfoot.report.rows import Report
        >>> from bigfoot.report.writer import save_report
        >>> folder = tempfile.mkdtemp()
        >>> save_report(Report("demo", [Row("teacher", "teacher", "test", wer=0.04)]), Path(folder, "report"))
        >>> compare_runs([folder]).rows[0].row.wer
        0.04
    """
    if not folders:
        raise DataError("nothing to compare: give one or more run folders")
    found = [_find_report(Path(folder)) for folder in folders]
    missing = [str(folder) for folder, report in zip(folders, found, strict=True) if report is None]
    if missing:
        raise DataError(
            f"no report in {', '.join(missing)}: expected report/report.json or report.json there; "
            "give folders of finished runs, or run the pipeline to its end first"
        )
    reports = [report.resolve() for report in found if report is not None]
    twice = sorted({str(report) for report in reports if reports.count(report) > 1})
    if twice:
        raise DataError(f"given more than once: {', '.join(twice)}; name every run once")
    rows = [
        ComparedRow(run, str(folder), row)
        for run, folder in zip(_name_runs(reports), reports, strict=True)
        for row in sort_rows(load_report(folder).rows)
    ]
    return Comparison(rows, find_incomparable([compared.row for compared in rows]))


def find_incomparable(rows: Sequence[Row]) -> list[str]:
    """Find differences in the measurement of rows with a WER; the models' training may differ.

    Args:
        rows: the rows of one table.

    Returns:
        A sentence for each condition that differs; empty if the rows can be compared.

    Examples:
        >>> find_incomparable([Row("a", "x", "dev", wer=0.1), Row("b", "x", "test", wer=0.1)])
        ['rows of different splits stand in this table (dev; test): their WERs cannot be compared']
    """
    judged = [row for row in rows if row.wer is not None]
    conditions = {
        "splits": [row.split for row in judged],
        "decoders": [row.decoder for row in judged],
        "units": [row.unit for row in judged],
        "normalizations of transcripts": [row.transcripts for row in judged if row.transcripts],
    }
    for split in dict.fromkeys(row.split for row in judged):
        # Other data under the same name, or utterances left out.
        counts = [row.num_words for row in judged if row.split == split and row.num_words is not None]
        conditions[f"numbers of words in {split}"] = [f"{count:,}" for count in counts]
    warnings = []
    for what, values in conditions.items():
        different = list(dict.fromkeys(values))
        if len(different) > 1:
            named = "; ".join(different)
            warnings.append(f"rows of different {what} stand in this table ({named}): their WERs cannot be compared")
    return warnings


def save_comparison(comparison: Comparison, folder: str | Path) -> None:
    """Write ``compare.{md,csv,json,html,png}``, each whole or not at all.

    Args:
        comparison: what to write.
        folder: created if missing.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> save_comparison(Comparison([ComparedRow("a", "runs/a", Row("m", "prune", "test", wer=0.04))], []), folder)
        >>> sorted(path.suffix for path in folder.iterdir())
        ['', '.csv', '.html', '.json', '.md', '.png']
    """
    rows, runs = [compared.row for compared in comparison.rows], [compared.run for compared in comparison.rows]
    labels = {"run": runs, "folder": [compared.folder for compared in comparison.rows]}
    data = {
        "rows": [
            {"run": compared.run, "folder": compared.folder, **dataclasses.asdict(compared.row)}
            for compared in comparison.rows
        ],
        "warnings": comparison.warnings,
    }
    contents = {
        "compare.md": encode_text(render_comparison_markdown(comparison)),
        "compare.csv": encode_text(render_csv(rows, labels)),
        "compare.html": encode_text(render_comparison_html(comparison)),
        "compare.png": render_png(draw_wer_vs_size(rows, groups=runs)),
        "compare.json": encode_json(data),
    }
    write_set(folder, contents, sign="compare.json")


def render_comparison_markdown(comparison: Comparison) -> str:
    """Render the comparison as one Markdown table below its warnings."""
    heads, cells = _table_of(comparison)
    warnings = [f"- **Careful:** {escape(warning)}" for warning in comparison.warnings]
    return "\n".join(["# Comparison", "", *warnings, *([""] if warnings else []), *render_table(heads, cells)]) + "\n"


def render_comparison_html(comparison: Comparison) -> str:
    """Render the comparison as one HTML page that needs no other file and no network.

    Args:
        comparison: to render; its texts are escaped.

    Returns:
        The page; its table can be sorted, and on a phone scrolls sideways with a fixed first column.
    """
    rows, runs = [compared.row for compared in comparison.rows], [compared.run for compared in comparison.rows]
    return render_page(
        "compare.html",
        "Comparison",
        warnings=comparison.warnings,
        table=tabulate_rows("Models of all runs", _COLUMNS, rows, {"run": runs}),
        figures=draw_tradeoffs(rows, runs),
    )


def _table_of(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    heads = ["run", *(column.head for column in _COLUMNS)]
    return heads, [[each.run, *(column.render(each.row) for column in _COLUMNS)] for each in comparison.rows]


def _find_report(folder: Path) -> Path | None:
    for candidate in (folder / "report", folder):
        if (candidate / "report.json").is_file():
            return candidate
    return None


def _name_runs(folders: Sequence[Path]) -> list[str]:
    """Name each run by the fewest last parts of its path that make all names unique."""
    paths = [folder.parent if folder.name == "report" else folder for folder in folders]
    for count in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-count:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]
