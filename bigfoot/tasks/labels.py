"""Labels and their statistics in a training split: what a new head is made for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bigfoot.data.cuts import read_cuts
from bigfoot.data.manifests import LABELS_FIELD
from bigfoot.errors import DataError
from bigfoot.models.tasks.shape import TaskShape
from bigfoot.models.tasks.targets import find_labels, name_ratings, read_targets
from bigfoot.tasks.settings import TrainTaskConfig


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
        "dropout": head.dropout, "edges": list(config.edges), "fbank": head.fbank,
    }  # fmt: skip
    if config.kind == "regression":
        targets = _read(fields | {"labels": config.labels}, attributes)
        fields["center"] = [float(value) for value in np.nanmean(targets, 0)]
        # Numbers that never differ have no spread to divide by.
        fields["scale"] = [float(value) or 1.0 for value in np.nanstd(targets, 0)]
    elif len(labels) < 2 and config.kind != "multi_label":
        where = config.column
        raise DataError(
            f"train_task.column: {where!r} has {len(labels)} different labels in train, and two are needed; set "
            f"data.labels=[{where}] and data.columns to the table's column"
        )
    else:
        _read(fields, attributes)
    return fields


def _read(fields: Mapping[str, Any], attributes: Sequence[Mapping[str, str]]) -> np.ndarray:
    shape = TaskShape.read(dict(fields))
    targets = read_targets(shape, attributes).double().numpy()
    if empty := [index for index, column in enumerate(targets.T) if np.isnan(column).all()]:
        name = shape.labels[empty[0]] if targets.shape[1] == shape.num_labels else shape.column
        raise DataError(f"train_task: no utterance of train has a label {name!r}; see data.labels and data.columns")
    return targets


def balanced_weights(shape: TaskShape, attributes: Sequence[Mapping[str, str]]) -> list[float]:
    """Weights of classes, or of the positive examples of each label, that make up for how rare they are.

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
