"""Labels and their statistics in a training split: what a new head is made for."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bigfoot.data.cuts import LABELS_FIELD, read_cuts
from bigfoot.errors import DataError
from bigfoot.models.tasks.shape import TaskShape
from bigfoot.models.tasks.targets import find_labels, find_unread, name_ratings, read_targets
from bigfoot.tasks.settings import TrainTaskConfig

_MOST_NAMED, _LONGEST_NAMED = 5, 40
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def read_attributes(manifest: Path) -> list[Mapping[str, str]]:
    """Read the labels of a manifest's utterances, without their audio.

    Args:
        manifest: of ``prepare_data``.
    """
    return [(cut.supervisions[0].custom or {}).get(LABELS_FIELD, {}) for cut in read_cuts(manifest)]


def build_task_shape(config: TrainTaskConfig, attributes: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Build the shape of a new head from the settings and the labels of train.

    Args:
        config: of the training.
        attributes: labels of train's utterances.

    Returns:
        Fields of ``TaskShape``.

    Raises:
        DataError: train has no such labels.
    """
    head = config.head
    found = name_ratings(config.edges) if config.edges else find_labels(config.kind, config.column, attributes)
    labels = config.labels or found
    fields: dict[str, Any] = {
        "kind": config.kind, "labels": labels, "column": config.column, "link": head.link, "pooling": head.pooling,
        "pooling_heads": head.pooling_heads, "layers": head.layers, "hidden_sizes": list(head.hidden_sizes),
        "dropout": head.dropout, "edges": list(config.edges), "fbank": head.fbank, "fbank_window": head.fbank_window,
        "pitch": head.pitch,
    }  # fmt: skip
    if config.kind == "regression":
        targets = _read(fields | {"labels": config.labels}, attributes)
        fields["center"] = [float(value) for value in np.nanmean(targets, 0)]
        # Numbers that never differ have no spread to divide by.
        fields["scale"] = [float(value) or 1.0 for value in np.nanstd(targets, 0)]
    elif len(labels) < (1 if config.kind == "multi_label" else 2):
        raise DataError(f"train_task.column: {describe_few_labels(config.column, labels)}")
    else:
        _read(fields, attributes)
    return fields


def describe_few_labels(column: str, labels: Sequence[str]) -> str:
    """Explain why there is nothing to tell apart, and what to do.

    Args:
        column: that holds the classes.
        labels: of train, one or none.
    """
    if labels:
        return f"{column!r} is {labels[0]!r} in all of train, and two classes are needed; take another split or column"
    return f"{column!r} has no label in train; name the table's column: data.labels=[{column}], data.columns"


def describe_unread(shape: TaskShape, attributes: Sequence[Mapping[str, str]], split: str) -> str:
    """State what labels of a split hold that the head does not have; empty where there is nothing.

    Args:
        shape: of the head.
        attributes: labels of the split's utterances.
        split: its name.

    Examples:
        >>> describe_unread(TaskShape(labels=["no", "yes"]), [{"label": "maybe"}, {"label": "no"}], "test")
        "labels of test that are none of the head's count nowhere: 'maybe' (1 of 2 utterances)"
    """
    found = find_unread(shape, attributes)
    if not found:
        return ""
    named = ", ".join(f"{label[:_LONGEST_NAMED]!r} ({count})" for label, count in found.most_common(_MOST_NAMED))
    named = named.removesuffix(")") + f" of {len(attributes)} utterances)"
    others = f", and {len(found) - _MOST_NAMED} others" if len(found) > _MOST_NAMED else ""
    return f"labels of {split} that are none of the head's count nowhere: {named}{others}"


def describe_doubts(shape: TaskShape) -> Iterator[str]:
    """State what labels of a new head suggest is not meant.

    Args:
        shape: of the head.

    Yields:
        A sentence each.

    Examples:
        >>> [*describe_doubts(TaskShape("ordinal", ["0", "1", "3"]))]
        ['ratings 0, 1, 3 are not evenly apart; if train lacks one, list all in labels']
    """
    if shape.kind == "regression":
        return
    written: dict[str, list[str]] = {}
    for label in shape.labels:
        written.setdefault(label.casefold(), []).append(label)
    for alike in written.values():
        if len(alike) > 1:
            yield f"labels {', '.join(alike)} differ in upper and lower case alone, and each is one of its own"
    if shape.edges or shape.kind == "multi_label":
        return
    numbers = [float(label) for label in shape.labels if _NUMBER.fullmatch(label)]
    if len(numbers) < shape.num_labels:
        return
    if shape.kind == "single_label" and any(number % 1 for number in numbers):
        yield "classes are fractions, each a class of its own; kind: regression, or ordinal with edges, takes numbers"
    steps = {after - before for before, after in itertools.pairwise(numbers)}
    if shape.kind == "ordinal" and len(steps) > 1:
        yield f"ratings {', '.join(shape.labels)} are not evenly apart; if train lacks one, list all in labels"


def _read(fields: Mapping[str, Any], attributes: Sequence[Mapping[str, str]]) -> np.ndarray:
    shape = TaskShape.read(dict(fields))
    targets = read_targets(shape, attributes).double().numpy()
    if empty := [index for index, column in enumerate(targets.T) if np.isnan(column).all()]:
        name = shape.labels[empty[0]] if targets.shape[1] == shape.num_labels else shape.column
        raise DataError(f"train_task: no utterance of train has a label {name!r}; see data.labels and data.columns")
    return targets


def balanced_weights(shape: TaskShape, attributes: Sequence[Mapping[str, str]]) -> list[float]:
    """Return the weights of classes, or of the positive examples of each label, that make up for how rare they are.

    Args:
        shape: of the head.
        attributes: labels of train's utterances.

    Returns:
        As scikit-learn's ``balanced``: utterances / (classes * utterances of the class); for several labels negative
        over positive examples. A class that is not in train weighs 1.
    """
    targets = read_targets(shape, attributes).double().numpy()
    if shape.kind == "multi_label":
        positive, known = np.nansum(targets, 0), (~np.isnan(targets)).sum(0)
        return [float((all_ - yes) / yes) if 0 < yes < all_ else 1.0 for yes, all_ in zip(positive, known, strict=True)]
    classes = targets[~np.isnan(targets[:, 0]), 0].astype(int)
    counts = np.bincount(classes, minlength=shape.num_labels)
    present = int((counts > 0).sum())
    return [float(len(classes) / (present * count)) if count else 1.0 for count in counts]
