"""Rows of any number of runs in one table."""

from __future__ import annotations

import base64
import dataclasses
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bigfoot.errors import DataError
from bigfoot.report.plots import draw_wer_vs_size, render_png
from bigfoot.report.render import COLUMNS, Column, render_csv, render_table, sort_rows
from bigfoot.report.rows import Row, encode_json, load_report, write_whole


@dataclass(frozen=True)
class ComparedRow:
    """A row and where it comes from.

    Args:
        run: what the run is called, unique in its comparison.
        folder: the folder in which its report was found.
        row: its facts.
    """

    run: str
    folder: str
    row: Row


@dataclass(frozen=True)
class Comparison:
    """Rows of several runs.

    Args:
        rows: run after run, the teacher of each first.
        warnings: why some of the rows cannot be compared with others, a sentence each.
    """

    rows: list[ComparedRow]
    warnings: list[str]


def compare_runs(folders: Sequence[str | Path]) -> Comparison:
    """Read the reports of runs.

    Args:
        folders: run folders (with ``report/report.json``) or report folders, one or more.

    Returns:
        All their rows, with warnings where they were not judged alike.

    Raises:
        DataError: no folders, one of them twice, or without a report; all such folders are named at once.

    Example:
        >>> import tempfile
        >>> from bigfoot.report.rows import Report, save_report
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
    """Say in what the conditions of rows with a WER differ.

    Args:
        rows: the rows of one table.

    Returns:
        A sentence for each condition that differs; empty where the rows may be compared.

    Example:
        >>> find_incomparable([Row("a", "x", "dev", wer=0.1), Row("b", "x", "test", wer=0.1)])
        ['rows of different splits stand in this table (dev; test): their WERs cannot be compared']
    """
    judged = [row for row in rows if row.wer is not None]
    conditions = {
        "splits": [row.split for row in judged],
        "decoders": [row.decoder for row in judged],
        "protocols": [row.protocol or "not stated" for row in judged],
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
        folder: where, made if it is missing.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> save_comparison(Comparison([ComparedRow("a", "runs/a", Row("m", "prune", "test", wer=0.04))], []), folder)
        >>> sorted(path.suffix for path in folder.iterdir())
        ['.csv', '.html', '.json', '.md', '.png']
    """
    folder = Path(folder)
    rows, runs = [compared.row for compared in comparison.rows], [compared.run for compared in comparison.rows]
    picture = render_png(draw_wer_vs_size(rows, groups=runs))
    labels = {"run": runs, "folder": [compared.folder for compared in comparison.rows]}
    write_whole(folder / "compare.md", render_comparison_markdown(comparison).encode())
    write_whole(folder / "compare.csv", render_csv(rows, labels).encode())
    write_whole(folder / "compare.html", render_comparison_html(comparison, picture).encode())
    write_whole(folder / "compare.png", picture)
    content = {
        "rows": [
            {"run": compared.run, "folder": compared.folder, **dataclasses.asdict(compared.row)}
            for compared in comparison.rows
        ],
        "warnings": comparison.warnings,
    }
    write_whole(folder / "compare.json", encode_json(content))


def render_comparison_markdown(comparison: Comparison) -> str:
    """Write the comparison as one Markdown table, warnings above it."""
    heads, cells = _table_of(comparison)
    warnings = [f"- **Careful:** {warning}" for warning in comparison.warnings]
    return "\n".join(["# Comparison", "", *warnings, *([""] if warnings else []), *render_table(heads, cells)]) + "\n"


def render_comparison_html(comparison: Comparison, picture: bytes | None = None) -> str:
    """Write the comparison as one HTML page that needs no other file and no network.

    Args:
        comparison: what to write; whatever it holds is shown as text, never read as HTML.
        picture: a PNG to put into the page.

    Returns:
        The page; on a phone the table scrolls sideways while its first column stays.
    """
    heads, cells = _table_of(comparison)
    head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    body = "\n".join("<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>" for row in cells)
    warnings = "\n".join(f'<p class="warning">Careful: {html.escape(text)}</p>' for text in comparison.warnings)
    image = ""
    if picture is not None:
        encoded = base64.b64encode(picture).decode()
        image = f'<img alt="WER against size, a colour for each run" src="data:image/png;base64,{encoded}">'
    return _PAGE.format(warnings=warnings, head=head, body=body, image=image)


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>bigfoot: comparison</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 1rem; color: #111; background: #fff; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; white-space: nowrap; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .35rem .6rem; border-bottom: 1px solid #ddd; text-align: right; }}
th:nth-child(-n+3), td:nth-child(-n+3) {{ text-align: left; }}
th:first-child, td:first-child {{ position: sticky; left: 0; background: #fff; }}
.warning {{ background: #fff3cd; border-left: 4px solid #e69f00; padding: .5rem .8rem; }}
img {{ max-width: 100%; height: auto; margin-top: 1rem; }}
</style>
</head>
<body>
<h1>Comparison</h1>
{warnings}
<div class="wide"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table></div>
{image}
</body>
</html>
"""


def _table_of(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    name, *others = COLUMNS
    columns = [name, Column("split", lambda row: row.split), *others]
    heads = ["run", *(column.head for column in columns)]
    return heads, [[each.run, *(column.render(each.row) for column in columns)] for each in comparison.rows]


def _find_report(folder: Path) -> Path | None:
    for candidate in (folder / "report", folder):
        if (candidate / "report.json").is_file():
            return candidate
    return None


def _name_runs(folders: Sequence[Path]) -> list[str]:
    """Name each run by the last parts of its path, as few as tell all of them apart."""
    paths = [folder.parent if folder.name == "report" else folder for folder in folders]
    for count in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-count:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]
