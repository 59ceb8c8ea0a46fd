"""Tabulate the labels of a corpus, what is missing, and what goes together."""

from __future__ import annotations

from collections.abc import Sequence

from bigfoot.data.describe import SplitFacts
from bigfoot.data.relations import Relation
from bigfoot.report.numbers import format_number
from bigfoot.report.tables import TextTable

_MOST_VALUES = 20
_MOST_RELATIONS = 40


def tabulate_labels(splits: Sequence[SplitFacts]) -> TextTable:
    """Tabulate how often labels have which value; of numbers with many values, their range.

    Args:
        splits: of ``describe_corpus``.

    Returns:
        A row for each value of a split; rarer ones share a row.
    """
    cells = []
    for split in splits:
        for name, label in split.labels.items():
            known = sum(label.counts.values())
            values = list(label.counts.items())
            if label.spread is not None and len(values) > _MOST_VALUES:
                low, high = format_number(label.spread.minimum), format_number(label.spread.maximum)
                numbers = known - sum(label.words.values())
                values = [(f"{low} to {high}, median {format_number(label.spread.median)}", numbers)]
                values += label.words.items()
            shown, rest = values[:_MOST_VALUES], values[_MOST_VALUES:]
            shown += [(f"{len(rest)} others", sum(count for _, count in rest))] if rest else []
            cells += [[name, split.split, value, str(count), f"{100 * count / known:.1f}"] for value, count in shown]
    return TextTable(["label", "split", "value", "utterances", "%"], cells)


def tabulate_missing(splits: Sequence[SplitFacts]) -> TextTable:
    """Tabulate utterances without transcript, speaker or label.

    Args:
        splits: of ``describe_corpus``.
    """
    names = list(dict.fromkeys(name for split in splits for name in split.labels))
    cells = []
    for split in splits:
        labels = [split.labels[name].num_missing if name in split.labels else split.num_utterances for name in names]
        counts = [split.num_without_text, split.num_without_speaker, *labels]
        cells.append([split.split, str(split.num_utterances), *map(str, counts)])
    return TextTable(["split", "utterances", "no text", "no speaker", *(f"no {name}" for name in names)], cells)


def tabulate_relations(relations: Sequence[Relation]) -> TextTable:
    """Tabulate the strongest correlations.

    Args:
        relations: of ``find_relations``.
    """
    cells = [
        [item.first, item.second, item.measure.replace("_", " "), f"{item.value:.2f}", str(item.count)]
        for item in relations[:_MOST_RELATIONS]
    ]
    return TextTable(["first", "second", "measure", "value", "utterances"], cells)
