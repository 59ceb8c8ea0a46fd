"""Write the description of a corpus: as an HTML page, JSON, Markdown and a figure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from bigfoot.data.describe import CorpusFacts
from bigfoot.report.corpus import (
    SPLIT_HEADS,
    SPREAD_HEADS,
    draw_description,
    render_description,
    split_cells,
    spread_cells,
    to_json,
)
from bigfoot.report.corpus_labels import tabulate_labels, tabulate_missing, tabulate_relations
from bigfoot.report.files import encode_json, encode_text, write_set
from bigfoot.report.page import embed_figure, render_page
from bigfoot.report.plots import render_png
from bigfoot.report.render_html import NUM_SKIPPED_LISTED
from bigfoot.report.tables import TextTable, count_skipped


def save_description(facts: CorpusFacts, folder: str | Path) -> None:
    """Write ``describe.json``, ``describe.html``, ``describe.md`` and ``describe.png``.

    Args:
        facts: of ``describe_corpus``.
        folder: created if missing.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> save_description(CorpusFacts("nothing", [], []), folder)
        >>> sorted(path.name for path in Path(folder).iterdir())
        ['.bigfoot', 'describe.html', 'describe.json', 'describe.md', 'describe.png']
    """
    contents = {
        "describe.json": encode_json(to_json(facts)),
        "describe.html": encode_text(render_corpus_page(facts)),
        "describe.md": encode_text(render_description(facts)),
        "describe.png": render_png(draw_description(facts)),
    }
    write_set(folder, contents, sign="describe.json", key="splits")


def render_corpus_page(facts: CorpusFacts) -> str:
    """Render a description as a page that needs no other file and no network.

    Args:
        facts: of ``describe_corpus``; its texts are escaped.

    Returns:
        The page.

    Examples:
        >>> "<h1>&lt;corpus&gt;</h1>" in render_corpus_page(CorpusFacts("<corpus>", [], []))
        True
    """
    return render_page(
        "describe.html",
        facts.name,
        tables=[table for table in _tabulate(facts) if table[1].cells],
        notes=[f"{split}: {account.describe()}" for split, account in facts.accounts.items()],
        figures=[embed_figure(draw_description(facts), "Distributions")],
    )


def _tabulate(facts: CorpusFacts) -> Iterator[tuple[str, TextTable, int]]:
    """Tables by title, and how many of their columns are words."""
    yield "Splits", TextTable(list(SPLIT_HEADS), [split_cells(split) for split in facts.splits]), 1
    yield "Missing values", tabulate_missing(facts.splits), 1
    yield "Labels", tabulate_labels(facts.splits), 3
    yield "Correlations", tabulate_relations(facts.relations), 3
    for quantity, cells in spread_cells(facts).items():
        yield quantity[0].upper() + quantity[1:], TextTable(["split", *SPREAD_HEADS], cells), 1
    skipped = [dataclasses.asdict(item) for item in facts.skipped]
    yield "Left out", count_skipped(skipped), 2
    listed = [[item.split, item.id, item.path, item.reason] for item in facts.skipped[:NUM_SKIPPED_LISTED]]
    yield "Left out, the first", TextTable(["split", "id", "file", "reason"], listed), 4
