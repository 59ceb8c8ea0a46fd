"""What a task model must beat: the majority or the mean of train, and a linear model on log-mel energies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bigfoot.data.batches import iterate_utterances
from bigfoot.models.decoders.fbank import Fbank
from bigfoot.models.tasks.shape import TaskShape
from bigfoot.models.tasks.targets import read_targets
from bigfoot.tasks.answers import Answers, task_facts
from bigfoot.tasks.metrics import TaskScore, score_answers

_BANDS, _WINDOW, _HOP, _LONGEST = 40, 400, 160, 40.0
_PENALTY = 10.0
"""Of the ridge regression, on features of unit variance."""


def measure_floors(
    shape: TaskShape, train: Path, test: Path, metric: str, samples: int, seed: int = 0
) -> dict[str, TaskScore]:
    """Score models that need no encoder.

    Args:
        shape: of the task.
        train: manifest that they are fitted to.
        test: manifest that they are scored on.
        metric: the one with an interval.
        samples: bootstrap resamples.
        seed: of the resampling.

    Returns:
        Scores of ``majority`` (``mean`` of a regression) and of ``fbank + logistic regression`` (``fbank + ridge``).
    """
    fitted, judged = _read(shape, train), _read(shape, test)
    numbers = shape.kind == "regression"
    constant = np.repeat(_frequencies(shape, fitted)[None], len(judged.features), 0)
    linear = _fit(shape, fitted, judged.features)
    found = {
        "mean" if numbers else "majority": constant,
        "fbank + ridge" if numbers else "fbank + logistic regression": linear,
    }
    facts, names = task_facts(shape), [""] * len(judged.speakers)
    return {
        name: score_answers(Answers(names, judged.speakers, judged.targets, scores, facts), metric, samples, seed)
        for name, scores in found.items()
    }


class _Split:
    """Features, targets and speakers of a split."""

    def __init__(self) -> None:
        self.rows: list[npt.NDArray[np.float32]] = []
        self.speakers: list[str] = []
        self.labels: list[Any] = []
        self.targets: npt.NDArray[np.float64] = np.zeros((0, 1))

    @property
    def features(self) -> npt.NDArray[np.float32]:
        return np.stack(self.rows)


def _read(shape: TaskShape, manifest: Path) -> _Split:
    """Read mean and standard deviation of the log-mel energies of each utterance; of the first piece of a long one."""
    fbank, found, last = Fbank(_BANDS, _WINDOW, _HOP), _Split(), None
    for item in iterate_utterances(manifest, longest=_LONGEST):
        if item.id == last:
            continue
        last = item.id
        energies = fbank(torch.from_numpy(np.asarray(item.samples))[None])[0]
        energies = energies if len(energies) else torch.zeros(1, _BANDS)
        found.rows.append(torch.cat([energies.mean(0), energies.std(0, correction=0)]).numpy())
        found.speakers.append(item.speaker)
        found.labels.append(item.attributes)
    found.targets = read_targets(shape, found.labels).double().numpy()
    return found


def _frequencies(shape: TaskShape, fitted: _Split) -> npt.NDArray[np.float64]:
    """Scores that are the same for every utterance."""
    if shape.kind in ("multi_label", "regression"):
        return np.nan_to_num(np.nanmean(fitted.targets, 0))
    known = fitted.targets[~np.isnan(fitted.targets[:, 0]), 0].astype(int)
    counts = np.bincount(known, minlength=shape.num_labels)
    if shape.kind == "ordinal":
        # A rating is chosen by its thresholds, so all of it goes to the most frequent one.
        return np.eye(shape.num_labels)[counts.argmax()]
    return counts / counts.sum()


def _fit(shape: TaskShape, fitted: _Split, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Fit a linear model to each column of the targets, or one to the classes; return its scores."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores = np.zeros((len(features), shape.num_labels))
    for column, target in enumerate(fitted.targets.T):
        known = ~np.isnan(target)
        rows, labels = fitted.features[known], target[known]
        if shape.kind == "regression":
            model = make_pipeline(StandardScaler(), Ridge(_PENALTY)).fit(rows, labels)
            scores[:, column] = model.predict(features)
            continue
        classes = np.unique(labels).astype(int)
        if len(classes) < 2:
            # One class alone in train is the answer to everything; of a label, yes or no.
            at = column if shape.kind == "multi_label" else classes
            scores[:, at] = labels[0] if shape.kind == "multi_label" else 1.0
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(rows, labels.astype(int))
        probabilities = model.predict_proba(features)
        if shape.kind == "multi_label":
            scores[:, column] = probabilities[:, 1]
        else:
            scores[:, classes] = probabilities
    return scores
