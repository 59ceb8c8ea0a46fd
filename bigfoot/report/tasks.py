"""Tables of tasks: metrics beside what a model must beat, classes, confusion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bigfoot.report.numbers import MISSING
from bigfoot.report.tables import TextTable

_MOST_CLASSES = 30
"""Of a table of confusion; more are in report.json alone."""


def tabulate_tasks(tasks: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, TextTable]]:
    """Tabulate the tasks of a report.

    Args:
        tasks: ``Report.tasks``.

    Yields:
        Titles and tables: the metrics of every split, then classes and confusion of its last model.

    Examples:
        >>> task = {"name": "train_task", "split": "test", "metrics": {"accuracy": 0.9}}
        >>> [(title, table.cells) for title, table in tabulate_tasks([task])]
        [('Metrics, test', [['train_task', '0.900']])]
    """
    splits: dict[str, list[Mapping[str, Any]]] = {}
    for task in tasks:
        splits.setdefault(str(task.get("split", "")), []).append(task)
    for split, here in splits.items():
        yield f"Metrics, {split}", _tabulate_metrics(here)
        pooled = [{"name": task.get("name"), **task["by_speaker"]} for task in here if task.get("by_speaker")]
        if pooled:
            yield f"Metrics of one answer a speaker, its mean scores, {split}", _tabulate_metrics(pooled)
        last = here[-1]
        if last.get("per_class"):
            yield f"Classes, {split}, {last.get('name')}", _tabulate_classes(last["per_class"])
        labels, confusion = last.get("labels") or [], last.get("confusion") or []
        if confusion and len(labels) <= _MOST_CLASSES:
            heads = ["true, down; chosen, across", *map(str, labels)]
            cells = [[str(label), *map(str, counts)] for label, counts in zip(labels, confusion, strict=False)]
            yield f"Confusion, {split}, {last.get('name')}", TextTable(heads, cells)


def _tabulate_metrics(tasks: Sequence[Mapping[str, Any]]) -> TextTable:
    floors = [
        (f"floor: {name}", metrics, (task.get("floor_intervals") or {}).get(name))
        for task in tasks
        for name, metrics in (task.get("floors") or {}).items()
    ]
    models = [(str(task.get("name", "")), task.get("metrics") or {}, task.get("interval")) for task in tasks]
    gains = [*[None] * len(floors), *(task.get("gain") for task in tasks)]
    rows = [*floors, *models]
    names = list(dict.fromkeys(metric for _, metrics, _ in rows for metric in metrics))
    chosen = next((task["metric"] for task in tasks if task.get("metric")), None)
    cells = [
        [name, *(_format(metrics.get(metric)) + (_bounds(interval) if metric == chosen else "") for metric in names)]
        for name, metrics, interval in rows
    ]
    heads = ["model", *(name.replace("_", " ") for name in names)]
    if any(gains) and chosen in names:
        place = names.index(chosen) + 2
        heads.insert(place, "gain on the best floor [95 %]")
        for row, gain in zip(cells, gains, strict=True):
            row.insert(place, f"{gain[0]:+.3f} [{gain[1]:+.3f}, {gain[2]:+.3f}]" if gain else "")
    return TextTable(heads, cells)


def _tabulate_classes(per_class: Mapping[str, Mapping[str, float]]) -> TextTable:
    names = list(dict.fromkeys(name for scores in per_class.values() for name in scores))
    cells = [
        [label, *(_format(scores.get(name), 0 if name == "support" else 3) for name in names)]
        for label, scores in per_class.items()
    ]
    return TextTable(["label", *names], cells)


def _bounds(interval: Sequence[float | None] | None) -> str:
    """Return the 95 % interval of the chosen metric, to stand behind it."""
    if interval is None or len(interval) != 2 or None in interval:
        return ""
    return f" [{_format(interval[0])}, {_format(interval[1])}]"


def _format(value: float | None, digits: int = 3) -> str:
    return MISSING if value is None else f"{value:.{digits}f}"
