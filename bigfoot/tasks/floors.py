"""What a task model must beat: the majority or the mean of train, and a linear model on simple features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bigfoot.data.batches import CutSource
from bigfoot.data.cuts import read_cuts
from bigfoot.models.decoders.fbank import Fbank
from bigfoot.models.tasks.energies import HOP, WINDOW
from bigfoot.models.tasks.shape import TaskShape
from bigfoot.models.tasks.targets import read_targets
from bigfoot.storage.memory import FileMemory
from bigfoot.tasks.answers import Answers, task_facts
from bigfoot.tasks.metrics import TaskScore, score_answers
from bigfoot.types import SAMPLE_RATE

_BANDS, _LONGEST = 40, 40.0
_PENALTY = 10.0
"""Of the ridge regression, on features of unit variance."""
_energies: FileMemory[npt.NDArray[np.float32]] = FileMemory()


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
    from sklearn.preprocessing import StandardScaler

    fitted, judged = _read(shape, train), _read(shape, test)
    return score_floors(shape, fitted, judged, ("fbank", StandardScaler), metric, samples, seed)


@dataclass(frozen=True)
class FloorExamples:
    """Examples of a split, as a linear model takes them.

    Args:
        features: N of them: rows of numbers, or texts.
        speakers: N.
        targets: (N, W), NaN where not known.
        ids: N utterances by name; empty where nobody asks.
    """

    features: npt.NDArray[Any]
    speakers: Sequence[str]
    targets: npt.NDArray[np.float64]
    ids: Sequence[str] = ()


def score_floors(
    shape: TaskShape, fitted: FloorExamples, judged: FloorExamples, front: tuple[str, Callable[[], Any]], metric: str,
    samples: int, seed: int,
) -> dict[str, TaskScore]:  # fmt: skip
    """Score what is the same for every utterance, and a linear model on features.

    Args:
        shape: of the task.
        fitted: examples that both are fitted to.
        judged: examples that both are scored on.
        front: name of the features, and the transformer of scikit-learn's in front of the linear model.
        metric: the one with an interval.
        samples: bootstrap resamples.
        seed: of the resampling.

    Returns:
        Scores of ``majority`` or ``mean``, and of ``NAME + logistic regression`` or ``NAME + ridge``.
    """
    numbers, (features, prepare) = shape.kind == "regression", front
    constant = np.repeat(_frequencies(shape, fitted)[None], len(judged.features), 0)
    found = {
        "mean" if numbers else "majority": constant,
        f"{features} + {'ridge' if numbers else 'logistic regression'}": _fit(shape, fitted, judged.features, prepare),
    }
    facts, names = task_facts(shape), [*judged.ids] or [""] * len(judged.speakers)
    return {
        name: score_answers(
            Answers(names, [*judged.speakers], judged.targets, np.asarray(scores, float), facts), metric, samples, seed
        )
        for name, scores in found.items()
    }


def _read(shape: TaskShape, manifest: Path) -> FloorExamples:
    sources = [CutSource.of(cut) for cut in read_cuts(manifest)]
    rows = [_energies.get(each.path, (each.offset, each.duration, each.channel), partial(_measure_energies, each))
            for each in sources]  # fmt: skip
    targets = read_targets(shape, [each.attributes for each in sources]).double().numpy()
    return FloorExamples(np.stack(rows), [each.speaker for each in sources], targets, [each.id for each in sources])


def _measure_energies(source: CutSource) -> npt.NDArray[np.float32]:
    """Compute mean and standard deviation of the log-mel energies of an utterance; of a long one's first piece."""
    item = next(source.load_pieces(SAMPLE_RATE, _LONGEST))
    energies = Fbank(_BANDS, WINDOW, HOP)(torch.from_numpy(np.asarray(item.samples))[None])[0]
    energies = energies if len(energies) else torch.zeros(1, _BANDS)
    found: npt.NDArray[np.float32] = torch.cat([energies.mean(0), energies.std(0, correction=0)]).numpy()
    return found


def _frequencies(shape: TaskShape, fitted: FloorExamples) -> npt.NDArray[np.float64]:
    """Scores that are the same for every utterance."""
    if shape.kind in ("multi_label", "regression"):
        return np.nan_to_num(np.nanmean(fitted.targets, 0))
    known = fitted.targets[~np.isnan(fitted.targets[:, 0]), 0].astype(int)
    counts = np.bincount(known, minlength=shape.num_labels)
    if shape.kind == "ordinal":
        # A rating is chosen by its thresholds, so all of it goes to the most frequent one.
        return np.eye(shape.num_labels)[counts.argmax()]
    return counts / counts.sum()


def _fit(
    shape: TaskShape, fitted: FloorExamples, features: npt.NDArray[Any], prepare: Callable[[], Any]
) -> npt.NDArray[np.float64]:  # fmt: skip
    """Fit a linear model to each column of the targets, or one to the classes; return its scores."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline

    scores = np.zeros((len(features), shape.num_labels))
    for column, target in enumerate(fitted.targets.T):
        known = ~np.isnan(target)
        rows, labels = fitted.features[known], target[known]
        if shape.kind == "regression":
            model = make_pipeline(prepare(), Ridge(_PENALTY)).fit(rows, labels)
            scores[:, column] = model.predict(features)
            continue
        classes = np.unique(labels).astype(int)
        if len(classes) < 2:
            # One class alone in train is the answer to everything; of a label, yes or no.
            at = column if shape.kind == "multi_label" else classes
            scores[:, at] = labels[0] if shape.kind == "multi_label" else 1.0
            continue
        model = make_pipeline(prepare(), LogisticRegression(max_iter=1000)).fit(rows, labels.astype(int))
        probabilities = model.predict_proba(features)
        if shape.kind == "multi_label":
            scores[:, column] = probabilities[:, 1]
        else:
            scores[:, classes] = probabilities
    return scores
