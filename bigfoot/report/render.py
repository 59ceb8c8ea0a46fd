"""Render a report as Markdown.

Names, paths and reasons come from user files: ``escape`` keeps them text, never HTML, headings or links.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bigfoot.report.columns import LEGEND, choose_columns, sort_rows
from bigfoot.report.rows import Report, Row
from bigfoot.report.sentences import describe_differences, describe_origin, describe_protocols
from bigfoot.report.tables import MACS_UNIT, count_skipped, tabulate_macs, tabulate_seconds
from bigfoot.report.tasks import tabulate_tasks

NUM_SKIPPED_SHOWN = 20
_ENTITY = re.compile(r"&(?=#?\w+;)")
_LEADING = re.compile(r"^(?=[#>+\-=\[*_~]|\d+[.)])")


def escape(text: str) -> str:
    r"""Escape text for Markdown: one line, without HTML, headings, links, formulas or code.

    Examples:
        >>> escape("a\n# b"), escape("<img src=x>"), escape("[click](http://x)")
        ('a # b', '&lt;img src=x&gt;', '\\[click]\\(http://x)')
    """
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    # First, or a backslash of the text would cancel one that is put before a sign below.
    line = line.replace("\\", "\\\\")
    line = _ENTITY.sub("&amp;", line).replace("<", "&lt;").replace(">", "&gt;")
    # $x$ is a formula to some readers, and \\( ... \\) to the hub's.
    line = line.replace("$", "\\$").replace("\\\\(", "\\\\&#40;").replace("\\\\[", "\\\\&#91;")
    line = line.replace("`", "\\`").replace("](", "]\\(").replace("][", "]\\[")
    return _LEADING.sub(r"\\", line)


def render_markdown(report: Report) -> str:
    """Render a report as Markdown.

    Args:
        report: to render.

    Returns:
        Markdown, without empty sections.

    Examples:
        >>> from bigfoot.report.rows import Report, Row
        >>> text = render_markdown(Report("demo", [Row("teacher", "teacher", "test", wer=0.04)]))
        >>> text.splitlines()[0], "| teacher | 4.00 |" in text
        ('# demo', True)
    """
    lines = [f"# {escape(report.title)}", ""]
    lines += render_splits(report.rows)
    lines += render_tasks(report.tasks)
    lines += _render_list("What was kept and dropped", report.changes)
    macs = tabulate_macs(report.rows)
    if macs.cells:
        lines += ["## MACs by part", "", MACS_UNIT, "", *render_table(macs.heads, macs.cells), ""]
    seconds = tabulate_seconds(report.seconds_per_step)
    if seconds.cells:
        lines += ["## Time per step", "", *render_table(seconds.heads, seconds.cells), ""]
    lines += render_skipped(report.skipped)
    lines += _render_list("Notes", report.notes)
    lines += _render_list("Where this comes from", describe_origin(report))
    return "\n".join(lines).rstrip() + "\n"


def render_tasks(tasks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Render the tables of tasks: metrics beside the floors, classes, confusion.

    Args:
        tasks: of a report.

    Returns:
        Lines of Markdown; empty without tasks.
    """
    lines: list[str] = []
    for title, table in tabulate_tasks(tasks):
        lines += [f"### {escape(title)}", "", *render_table(table.heads, table.cells), ""]
    return ["## Task", "", *lines] if lines else lines


def render_splits(rows: Sequence[Row]) -> list[str]:
    """Render one table per split, each with its protocol, and a legend of the columns.

    Args:
        rows: of a report.

    Returns:
        Lines of Markdown; empty without rows.
    """
    lines: list[str] = []
    for split in dict.fromkeys(row.split for row in rows):
        lines += _render_split(split, sort_rows([row for row in rows if row.split == split]))
    return [*lines, LEGEND, ""] if rows else lines


def render_table(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    r"""Render a Markdown table, first column left-aligned, the others right-aligned.

    Examples:
        >>> render_table(["model", "WER %"], [["a|b", "3.1"]])
        ['| model | WER % |', '| :--- | ---: |', '| a\\|b | 3.1 |']
    """
    rule = [":---"] + ["---:"] * (len(heads) - 1)
    # A pipe or a newline in a name would end the cell.
    escaped = [[_escape_cell(cell) for cell in row] for row in (heads, *cells)]
    return [f"| {' | '.join(row)} |" for row in (escaped[0], rule, *escaped[1:])]


def _escape_cell(text: str) -> str:
    # Numbers keep their minus, names their asterisk: neither starts a list inside a cell.
    return escape(f"|{text}")[1:].strip().replace("|", "\\|")


def _render_split(split: str, rows: Sequence[Row]) -> list[str]:
    columns = choose_columns(rows)
    table = render_table([column.head for column in columns], [[c.render(row) for c in columns] for row in rows])
    protocols, differences = describe_protocols(rows), describe_differences(rows)
    bullet = "- " if len(protocols) > 1 else ""
    protocols = [bullet + escape(sentence) for sentence in protocols]
    lines = [f"## {escape(split)}", "", *table, "", *protocols, ""]
    return [*lines, *(f"- {escape(sentence)}" for sentence in differences), ""] if differences else lines


def _render_list(head: str, items: Sequence[str]) -> list[str]:
    return [f"## {head}", "", *(f"- {escape(item)}" for item in items), ""] if items else []


def render_skipped(skipped: Sequence[Mapping[str, Any]]) -> list[str]:
    """Render the skipped data: counts by split and reason, and the first ones by name.

    Args:
        skipped: each with ``split``, ``id``, ``path`` and ``reason``.

    Returns:
        Lines of Markdown; empty if nothing was skipped.

    Examples:
        >>> lines = render_skipped([{"split": "dev", "id": "a", "path": "a.wav", "reason": "no such file"}])
        >>> lines[-2]
        '- dev a a.wav: no such file'
    """
    if not skipped:
        return []
    kinds = count_skipped(skipped)
    shown = [
        "- "
        + escape(f"{item.get('split', '')} {item.get('id', '')} {item.get('path') or ''}: {item.get('reason', '')}")
        for item in skipped[:NUM_SKIPPED_SHOWN]
    ]
    rest = len(skipped) - len(shown)
    if rest:
        shown.append(f"- and {rest} more: all are in report.json under `skipped`")
    return ["## Skipped data", "", *render_table(kinds.heads, kinds.cells), "", *shown, ""]
