"""The description of a corpus: as a table for the console, as Markdown, as JSON and as a picture."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from bigfoot.data.describe import CorpusFacts, SplitFacts, spread_of
from bigfoot.report.files import write_whole
from bigfoot.report.numbers import format_number
from bigfoot.report.plots import COLOURS, render_png
from bigfoot.report.render import render_skipped, render_table

if TYPE_CHECKING:  # matplotlib is slow to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NUM_BINS = 40
_NUM_CHARACTERS_DRAWN = 48
_SPREAD_HEADS = ("minimum", "lower quartile", "median", "upper quartile", "maximum", "mean")
_SPLIT_HEADS = ("split", "hours", "utterances", "speakers", "without text", "Hz", "channels")


def save_description(facts: CorpusFacts, folder: str | Path) -> None:
    """Write ``describe.json``, ``describe.md`` and ``describe.png``.

    Args:
        facts: of ``describe_corpus``.
        folder: made where missing.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> save_description(CorpusFacts("nothing", [], []), folder)
        >>> sorted(path.name for path in Path(folder).iterdir())
        ['.bigfoot', 'describe.json', 'describe.md', 'describe.png']
    """
    contents = {
        "describe.json": (json.dumps(to_json(facts), indent=2, ensure_ascii=False) + "\n").encode("utf-8"),
        "describe.md": render_description(facts).encode("utf-8"),
        "describe.png": render_png(draw_description(facts)),
    }
    for name, content in contents.items():
        write_whole(Path(folder) / name, content, sign="describe.json", key="splits")


def to_json(facts: CorpusFacts) -> dict[str, Any]:
    """Plain values of a description; of what is spread out, its summary.

    Returns:
        ``name``, ``splits`` (each with its counts and, under ``spreads``, minimum, quartiles, maximum and mean by
        quantity), ``skipped``, and ``accounts`` by split.
    """
    splits = []
    for split in facts.splits:
        content = {
            field.name: getattr(split, field.name)
            for field in dataclasses.fields(split)
            if not isinstance(getattr(split, field.name), list)
        }
        spreads = {name: spread_of(values) for name, values in split.quantities.items()}
        content["spreads"] = {name: spread and dataclasses.asdict(spread) for name, spread in spreads.items()}
        splits.append(content)
    return {
        "name": facts.name,
        "splits": splits,
        "skipped": [dataclasses.asdict(item) for item in facts.skipped],
        "accounts": {split: account.to_dict() for split, account in facts.accounts.items()},
    }


def render_description(facts: CorpusFacts) -> str:
    """Write a description for people.

    Args:
        facts: of ``describe_corpus``.

    Returns:
        Markdown.
    """
    lines = [f"# {facts.name}", "", *render_table(_SPLIT_HEADS, [_split_cells(split) for split in facts.splits]), ""]
    for quantity, cells in _spread_cells(facts).items():
        lines += [f"## {quantity[0].upper()}{quantity[1:]}", "", *render_table(("split", *_SPREAD_HEADS), cells), ""]
    lines += ["## Characters", "", *_describe_characters(facts.splits), ""]
    lines += [f"- {split}: {account.describe()}" for split, account in facts.accounts.items()] + [""]
    lines += render_skipped([dataclasses.asdict(item) for item in facts.skipped])
    return "\n".join([*lines, "![distributions](describe.png)", ""])


def render_tables(facts: CorpusFacts) -> list[Table]:
    """Make the tables that a console shows: the splits, what is spread out, and what was left out.

    Args:
        facts: of ``describe_corpus``.

    Returns:
        Tables for ``rich.console.Console.print``.
    """
    tables = [_make_table(facts.name, _SPLIT_HEADS, [_split_cells(split) for split in facts.splits])]
    spreads = [[quantity, *cells] for quantity, rows in _spread_cells(facts).items() for cells in rows]
    tables.append(_make_table("distributions", ("quantity", "split", *_SPREAD_HEADS), spreads))
    if facts.skipped:
        counts = Counter((item.reason, item.split) for item in facts.skipped)
        rows = [[reason, split, str(count)] for (reason, split), count in counts.most_common()]
        tables.append(_make_table("left out", ("reason", "split", "count"), rows))
    return tables


def _make_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    # Text, not str: rich would read a bracket in a path as an order to change colour.
    table = Table(title=Text(title), box=box.SIMPLE_HEAD)
    for number, head in enumerate(heads):
        table.add_column(Text(head), justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _split_cells(split: SplitFacts) -> list[str]:
    counts = [str(count) for count in (split.num_utterances, split.num_speakers, split.num_without_text)]
    return [split.split, f"{split.hours:.2f}", *counts, *map(_list_counts, (split.sample_rates, split.channels))]


def _list_counts(counts: Mapping[int, int]) -> str:
    """``16000`` where all are alike, ``8000 (3), 16000 (97)`` where not."""
    if len(counts) == 1:
        return str(next(iter(counts)))
    return ", ".join(f"{value} ({count})" for value, count in counts.items())


def _spread_cells(facts: CorpusFacts) -> dict[str, list[list[str]]]:
    """By quantity, a row for each split."""
    cells: dict[str, list[list[str]]] = {}
    for split in facts.splits:
        for quantity, values in split.quantities.items():
            spread = spread_of(values)
            figures = (None,) * len(_SPREAD_HEADS) if spread is None else dataclasses.astuple(spread)
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
    """What to show of a character that cannot be seen, or that few fonts hold."""
    if character == " ":
        return "space"
    return character if character.isprintable() and ord(character) < 0x590 else f"U+{ord(character):04X}"


def draw_description(facts: CorpusFacts) -> Figure:
    """Draw how lengths are spread, in percent of each split's utterances, and how often characters stand in the texts.

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
    # Counts get bins of whole numbers, else some bins would hold two of them and their neighbours one.
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
