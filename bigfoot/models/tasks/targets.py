"""From the labels of utterances, as words, to the targets of a task head."""

from __future__ import annotations

import bisect
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from bigfoot.models.tasks.shape import TaskShape

_TRUE, _FALSE = frozenset({"1", "1.0", "true", "yes"}), frozenset({"0", "0.0", "false", "no"})
_UNKNOWN = math.nan


def read_targets(shape: TaskShape, attributes: Sequence[Mapping[str, str]]) -> Tensor:
    """Read the targets of utterances.

    Args:
        shape: of the head.
        attributes: labels of each utterance, by name.

    Returns:
        (B, W) float32, see ``bigfoot.models.tasks.kinds.base``; NaN where a label is absent, or none of the head's.

    Examples:
        >>> shape = TaskShape(labels=["no", "yes"], column="answer")
        >>> read_targets(shape, [{"answer": "yes"}, {}]).tolist()
        [[1.0], [nan]]
    """
    rows = [_read_target(shape, labels) for labels in attributes]
    return torch.tensor(rows, dtype=torch.float32)


def _read_target(shape: TaskShape, labels: Mapping[str, str]) -> list[float]:
    if shape.kind == "regression":
        return [_read_number(labels.get(name)) for name in shape.labels]
    if shape.kind == "multi_label":
        return _read_several(shape, labels)
    value = labels.get(shape.column)
    if shape.edges:
        number = _read_number(value)
        return [_UNKNOWN if math.isnan(number) else float(bisect.bisect_left(shape.edges, number))]
    place = _find_label(shape.labels, value)
    return [_UNKNOWN if place is None else float(place)]


def _find_label(labels: Sequence[str], value: str | None) -> int | None:
    """Place of a label; a number is the same label however it is written, such as 3 and 3.0."""
    if value in labels:
        return labels.index(value)
    number = _read_number(value)
    return next((place for place, label in enumerate(labels) if _read_number(label) == number), None)


def find_unread(shape: TaskShape, attributes: Iterable[Mapping[str, str]]) -> Counter[str]:
    """Count what labels of utterances hold that the head does not have; it counts nowhere.

    Args:
        shape: of the head.
        attributes: labels of each utterance, by name.

    Returns:
        Utterances by what stands there, the most frequent first; empty cells are not among it.

    Examples:
        >>> shape = TaskShape(labels=["no", "yes"], column="answer")
        >>> dict(find_unread(shape, [{"answer": "maybe"}, {"answer": "yes"}, {}]))
        {'maybe': 1}
    """
    found: Counter[str] = Counter()
    for labels in attributes:
        if shape.kind == "multi_label" and shape.column:
            found.update(set(split_labels(labels.get(shape.column, ""))) - set(shape.labels))
            continue
        names = shape.labels if shape.kind in ("regression", "multi_label") else [shape.column]
        targets = zip(names, _read_target(shape, labels), strict=True)
        found.update({labels[name] for name, target in targets if math.isnan(target) and labels.get(name)})
    return Counter(dict(found.most_common()))


def _read_number(text: str | None) -> float:
    try:
        number = float(text or "nan")
    except ValueError:
        return _UNKNOWN
    return number if math.isfinite(number) else _UNKNOWN


def _read_several(shape: TaskShape, labels: Mapping[str, str]) -> list[float]:
    if shape.column:
        if shape.column not in labels:
            return [_UNKNOWN] * shape.num_labels
        named = split_labels(labels[shape.column])
        return [float(name in named) for name in shape.labels]
    words = (labels.get(name, "").lower() for name in shape.labels)
    return [1.0 if word in _TRUE else 0.0 if word in _FALSE else _UNKNOWN for word in words]


def split_labels(text: str) -> list[str]:
    """Split a cell with several labels.

    Examples:
        >>> split_labels("male|fast"), split_labels("none; ")
        (['male', 'fast'], ['none'])
    """
    return [part.strip() for part in re.split(r"[|;,]", text) if part.strip()]


def name_ratings(edges: Sequence[float]) -> list[str]:
    """Name the ratings between edges.

    Examples:
        >>> name_ratings([8, 11.5])
        ['up to 8', '8 to 11.5', 'above 11.5']
    """
    between = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges)]
    return [f"up to {edges[0]:g}", *between, f"above {edges[-1]:g}"]


def find_labels(kind: str, column: str, attributes: Iterable[Mapping[str, str]]) -> list[str]:
    """Find the labels of a corpus: its classes in order, numbers by size.

    Args:
        kind: of the task, with a ``column``.
        column: where labels are.
        attributes: labels of each utterance.

    Returns:
        Every label once.

    Examples:
        >>> find_labels("ordinal", "rating", [{"rating": "10"}, {"rating": "9"}, {}])
        ['9', '10']
    """
    cells = {labels[column] for labels in attributes if column in labels}
    found = {label for cell in cells for label in (split_labels(cell) if kind == "multi_label" else [cell])}
    numbers = {label: _read_number(label) for label in found}
    if any(math.isnan(number) for number in numbers.values()):
        return sorted(found)
    if kind == "multi_label":
        return sorted(found, key=lambda label: (numbers[label], label))
    # 3 and 3.0 are one label: pandas writes whole numbers so where a cell of the column is empty.
    shortest = {numbers[label]: label for label in sorted(found, key=lambda label: (-len(label), label))}
    return [shortest[number] for number in sorted(shortest)]
