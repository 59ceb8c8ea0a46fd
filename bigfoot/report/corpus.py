"""Render the description of a corpus: console tables, Markdown, JSON, a page and a figure."""

from __future__ import annotations

import dataclasses
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bigfoot.data.describe import CorpusFacts, SplitFacts
from bigfoot.data.distributions import spread_of
from bigfoot.report.corpus_labels import tabulate_labels, tabulate_missing, tabulate_relations
from bigfoot.report.numbers import format_number
from bigfoot.report.plots import COLOURS
from bigfoot.report.render import render_skipped, render_table
from bigfoot.report.tables import TextTable

if TYPE_CHECKING:  # matplotlib is slow to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NUM_BINS = 40
_NUM_CHARACTERS_DRAWN = 48
SPREAD_HEADS = ("minimum", "lower quartile", "median", "upper quartile", "maximum", "mean")
SPLIT_HEADS = ("split", "hours", "utterances", "speakers", "without text", "Hz", "channels")


def to_json(facts: CorpusFacts) -> dict[str, Any]:
    """Convert a description to plain values; distributions are summarized.

    Returns:
        ``name``, ``splits`` (each with its counts and, under ``spreads``, minimum, quartiles, maximum and mean by
        quantity, and ``labels``), ``skipped``, ``accounts`` by split, and ``correlations``, the strongest first.
    """
    splits = []
    for split in facts.splits:
        content = {
            field.name: getattr(split, field.name)
            for field in dataclasses.fields(split)
            if not isinstance(getattr(split, field.name), list)
        }
        spreads = {name: spread_of(values) for name, values in split.quantities.items()}
        content["labels"] = {name: dataclasses.asdict(label) for name, label in split.labels.items()}
        content["spreads"] = {name: spread and dataclasses.asdict(spread) for name, spread in spreads.items()}
        splits.append(content)
    return {
        "name": facts.name,
        "splits": splits,
        "skipped": [dataclasses.asdict(item) for item in facts.skipped],
        "accounts": {split: account.to_dict() for split, account in facts.accounts.items()},
        "correlations": [dataclasses.asdict(item) for item in facts.relations],
    }


def render_description(facts: CorpusFacts) -> str:
    """Render a description as Markdown.

    Args:
        facts: of ``describe_corpus``.

    Returns:
        Markdown.
    """
    lines = [f"# {facts.name}", "", *render_table(SPLIT_HEADS, [split_cells(split) for split in facts.splits]), ""]
    for quantity, cells in spread_cells(facts).items():
        lines += [f"## {quantity[0].upper()}{quantity[1:]}", "", *render_table(("split", *SPREAD_HEADS), cells), ""]
    for title, table in _label_tables(facts):
        lines += [f"## {title}", "", *render_table(table.heads, table.cells), ""]
    lines += ["## Characters", "", *_describe_characters(facts.splits), ""]
    lines += [f"- {split}: {account.describe()}" for split, account in facts.accounts.items()] + [""]
    lines += render_skipped([dataclasses.asdict(item) for item in facts.skipped])
    return "\n".join([*lines, "![distributions](describe.png)", ""])


def _label_tables(facts: CorpusFacts) -> list[tuple[str, TextTable]]:
    tables = {
        "Missing values": tabulate_missing(facts.splits),
        "Labels": tabulate_labels(facts.splits),
        "Correlations": tabulate_relations(facts.relations),
    }
    return [(title, table) for title, table in tables.items() if table.cells]


def render_tables(facts: CorpusFacts, width: int | None = None) -> list[Table]:
    """Render the tables for a console: the splits, the distributions, and the skipped utterances.

    Args:
        facts: of ``describe_corpus``.
        width: of the console, in columns; a table that would cut words there has a line for every cell.

    Returns:
        Tables for ``rich.console.Console.print``.
    """
    tables = [_make_table(facts.name, SPLIT_HEADS, [split_cells(split) for split in facts.splits])]
    spreads = [[quantity, *cells] for quantity, rows in spread_cells(facts).items() for cells in rows]
    tables.append(_make_table("distributions", ("quantity", "split", *SPREAD_HEADS), spreads))
    tables += [_make_table(title.lower(), table.heads, table.cells) for title, table in _label_tables(facts)]
    if facts.skipped:
        counts = Counter((item.reason, item.split) for item in facts.skipped)
        rows = [[reason, split, str(count)] for (reason, split), count in counts.most_common()]
        tables.append(_make_table("left out", ("reason", "split", "count"), rows))
    return [table if width is None else _fit(table, width) for table in tables]


def _fit(table: Table, width: int) -> Table:
    """Keep a table whose words fit in a line; else give every cell a line, behind its head."""
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as shown:
        console.print(table)
    columns = [(Text(str(column.header)), list(column.cells)) for column in table.columns]
    words = {word for head, cells in columns for text in (head, *cells) for word in str(text).split()}
    if words <= set(shown.get().split()):
        return table
    fitted = Table(title=table.title, box=box.SIMPLE_HEAD, show_header=False)
    fitted.add_column(overflow="fold")
    fitted.add_column(overflow="fold")
    for number in range(table.row_count):
        for head, cells in columns:
            fitted.add_row(head, cells[number])
        fitted.add_section()
    return fitted


def _make_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    # Text, not str: rich would parse a bracket in a path as markup.
    table = Table(title=Text(title), box=box.SIMPLE_HEAD)
    for number, head in enumerate(heads):
        table.add_column(Text(head), justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def split_cells(split: SplitFacts) -> list[str]:
    """Return the cells of a split under ``SPLIT_HEADS``."""
    counts = [str(count) for count in (split.num_utterances, split.num_speakers, split.num_without_text)]
    return [split.split, f"{split.hours:.2f}", *counts, *map(_list_counts, (split.sample_rates, split.channels))]


def _list_counts(counts: Mapping[int, int]) -> str:
    """Return ``16000`` for a single value, else ``8000 (3), 16000 (97)``."""
    if len(counts) == 1:
        return str(next(iter(counts)))
    return ", ".join(f"{value} ({count})" for value, count in counts.items())


def spread_cells(facts: CorpusFacts) -> dict[str, list[list[str]]]:
    """Return the rows under ``SPREAD_HEADS`` by quantity, one per split."""
    cells: dict[str, list[list[str]]] = {}
    for split in facts.splits:
        for quantity, values in split.quantities.items():
            spread = spread_of(values)
            figures = (None,) * len(SPREAD_HEADS) if spread is None else dataclasses.astuple(spread)
            cells.setdefault(quantity, []).append([split.split, *map(format_number, figures)])
    return cells


def _describe_characters(splits: Sequence[SplitFacts]) -> list[str]:
    lines = []
    train = next((set(split.characters) for split in splits if split.split == "train"), None)
    for split in splits:
        counted = ", ".join(f"`{_label(char)}` {count}" for char, count in split.characters.items()) or "no text"
        lines.append(f"- {split.split}, {len(split.characters)} different: {counted}")
        if train is not None and (unseen := sorted(set(split.characters) - train)):
            lines.append(f"- {split.split} has what train has not: {' '.join(f'`{_label(char)}`' for char in unseen)}")
    return lines


def _label(character: str) -> str:
    """Return a label for a character that is invisible, or that few fonts have."""
    if character == " ":
        return "space"
    return character if character.isprintable() and ord(character) < 0x590 else f"U+{ord(character):04X}"


def draw_description(facts: CorpusFacts) -> Figure:
    """Draw histograms of lengths, in percent of each split's utterances, and the frequencies of characters.

    Args:
        facts: of ``describe_corpus``.

    Returns:
        The figure: four histograms, and bars for the most frequent characters.

    Examples:
        >>> len(draw_description(CorpusFacts("nothing", [], [])).axes)
        1
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 9.0), layout="constrained")
    figure.suptitle(facts.name)
    quantities = list(facts.splits[0].quantities) if facts.splits else []
    grid = figure.add_gridspec(len(quantities) // 2 + 1, 2)
    for number, quantity in enumerate(quantities):
        axes = figure.add_subplot(grid[number // 2, number % 2])
        _draw_histogram(axes, quantity, {split.split: split.quantities[quantity] for split in facts.splits})
    _draw_characters(figure.add_subplot(grid[-1, :]), facts.splits)
    return figure


def _draw_histogram(axes: Axes, quantity: str, by_split: Mapping[str, Sequence[float]]) -> None:
    import numpy as np

    values = [value for some in by_split.values() for value in some]
    whole = all(float(value).is_integer() for value in values)
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    # Counts get integer bins, else some bins would hold two values and their neighbours one.
    width = max(1, round((high - low) / _NUM_BINS)) if whole else max(high - low, 1e-3) / _NUM_BINS
    edges = (np.arange(low, high + 1.5 * width, width) - (0.5 if whole else 0.0)).tolist()
    for (split, some), colour in zip(by_split.items(), COLOURS, strict=False):
        if some:
            weights = [100 / len(some)] * len(some)
            axes.hist(some, edges, weights=weights, histtype="step", color=colour, lw=1.4, label=split)
    axes.set_xlabel(quantity)
    axes.set_ylabel("utterances (%)")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if values:
        axes.legend(fontsize=8, frameon=False)
    else:
        axes.text(0.5, 0.5, "no text", transform=axes.transAxes, ha="center", va="center", color="0.4")


def _draw_characters(axes: Axes, splits: Sequence[SplitFacts]) -> None:
    shares = [{char: 100 / sum(s.characters.values()) * n for char, n in s.characters.items()} for s in splits]
    highest = {char: max(share.get(char, 0.0) for share in shares) for share in shares for char in share}
    drawn = sorted(highest, key=lambda char: -highest[char])[:_NUM_CHARACTERS_DRAWN]
    width = 0.8 / max(1, len(splits))
    for number, (split, share) in enumerate(zip(splits, shares, strict=True)):
        places = [place + (number - (len(splits) - 1) / 2) * width for place in range(len(drawn))]
        axes.bar(places, [share.get(char, 0.0) for char in drawn], width, color=COLOURS[number], label=split.split)
    axes.set_xticks(range(len(drawn)), [_label(char) for char in drawn], fontsize=8)
    axes.margins(x=0.01)
    rest = len(highest) - len(drawn)
    axes.set_xlabel("character" + (f" ({rest} rarer ones not drawn)" if rest else ""))
    axes.set_ylabel("share of the text (%)")
    axes.grid(alpha=0.25, axis="y")
    axes.spines[["top", "right"]].set_visible(False)
