"""Metrics of the kinds of tasks, computed by scikit-learn, with intervals by speaker.

Two are not in scikit-learn: Lin's concordance correlation and the expected calibration error.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bigfoot.measure.error_rate import assign_units
from bigfoot.runtime.task_answers import choose_classes
from bigfoot.tasks.answers import Answers

Metrics = dict[str, float]
_BINS = 10


@dataclass(frozen=True)
class TaskScore:
    """Score of a model on a split.

    Args:
        metrics: every metric of the kind by name; one that is not defined is absent.
        low: lower end of the 95 % interval of ``metric``; None of fewer than two units.
        high: upper end.
        metric: name of the one that models are compared by.
        unit: of the bootstrap, ``speaker`` (20 or more of them) or ``utterance``.
        num_utterances: with a label.
        per_class: precision, recall, f1 and support by label.
        confusion: of one class or ratings: counts, the true class down, the chosen one across.
    """

    metrics: Metrics
    metric: str
    low: float | None
    high: float | None
    unit: str
    num_utterances: int
    per_class: dict[str, Metrics] = field(default_factory=dict)
    confusion: list[list[int]] = field(default_factory=list)


def score_answers(answers: Answers, metric: str, samples: int, seed: int) -> TaskScore:
    """Score answers.

    Args:
        answers: of a model; utterances without a label are left out.
        metric: name of the one with an interval.
        samples: bootstrap resamples.
        seed: of the resampling.

    Returns:
        See ``TaskScore``.
    """
    known = answers.known()
    compute = _METRICS[answers.facts.kind]
    units, unit = assign_units(known.speakers)
    metrics = compute(known) if len(known.ids) else {}
    resampled = _resample(known, units, lambda drawn: compute(drawn).get(metric), samples, seed)
    low, high = np.quantile(resampled, [0.025, 0.975]).tolist() if resampled else (None, None)
    per_class, confusion = _describe_classes(known) if len(known.ids) else ({}, [])
    return TaskScore(metrics, metric, low, high, unit, len(known.ids), per_class, confusion)


def _resample(
    answers: Answers, units: npt.NDArray[np.intp], compute: Callable[[Answers], float | None], samples: int, seed: int
) -> list[float]:
    """Draw as many units as there are, with replacement; resamples without the metric are left out."""
    if len(units) == 0 or int(units.max()) < 1:
        return []
    rows_of = [np.flatnonzero(units == unit) for unit in range(int(units.max()) + 1)]
    rng = np.random.default_rng(seed)
    found = (
        compute(answers.take(np.concatenate([rows_of[unit] for unit in rng.integers(len(rows_of), size=len(rows_of))])))
        for _ in range(samples)
    )
    return [value for value in found if value is not None]


def _classes(answers: Answers) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    return answers.targets[:, 0].astype(np.int64), choose_classes(answers.scores, answers.facts)


def _score_single(answers: Answers) -> Metrics:
    from sklearn import metrics

    truth, chosen = _classes(answers)
    present = np.unique(truth)
    found = {
        "accuracy": metrics.accuracy_score(truth, chosen),
        # Recalls of the classes that are there; scikit-learn's own warns of answers that name another.
        "balanced_accuracy": metrics.recall_score(truth, chosen, labels=present, average="macro", zero_division=0),
        "macro_f1": metrics.f1_score(truth, chosen, average="macro", zero_division=0),
        "weighted_f1": metrics.f1_score(truth, chosen, average="weighted", zero_division=0),
        "ece": calibration_error(answers.scores.max(-1), answers.scores.argmax(-1) == truth),
    }
    return _floats(found)


def _score_ordinal(answers: Answers) -> Metrics:
    from sklearn import metrics

    truth, chosen = _classes(answers)
    found = _score_single(answers)
    found["mae"] = metrics.mean_absolute_error(truth, chosen)
    with warnings.catch_warnings():
        # Of one rating alone there is no agreement beyond chance to speak of.
        warnings.simplefilter("ignore")
        kappa = metrics.cohen_kappa_score(truth, chosen, weights="quadratic")
    return _floats(found | {"quadratic_kappa": kappa})


def _score_multi(answers: Answers) -> Metrics:
    from sklearn import metrics

    by_label: dict[str, list[float]] = {"macro_f1": [], "average_precision": [], "auroc": []}
    correct: list[npt.NDArray[np.bool_]] = []
    for truth, score in zip(answers.targets.T, answers.scores.T, strict=True):
        known = ~np.isnan(truth)
        labels, scores = truth[known] > 0.5, score[known]
        correct.append((scores >= 0.5) == labels)
        if labels.any():
            by_label["macro_f1"].append(metrics.f1_score(labels, scores >= 0.5, zero_division=0))
            by_label["average_precision"].append(metrics.average_precision_score(labels, scores))
        if labels.any() and not labels.all():
            by_label["auroc"].append(metrics.roc_auc_score(labels, scores))
    found = {name: float(np.mean(values)) for name, values in by_label.items() if values}
    return _floats(found | {"accuracy": np.concatenate(correct).mean()})


def _score_regression(answers: Answers) -> Metrics:
    from sklearn import metrics

    found: dict[str, list[float]] = {"rmse": [], "mae": [], "ccc": []}
    for truth, number in zip(answers.targets.T, answers.scores.T, strict=True):
        known = ~np.isnan(truth)
        if known.any():
            pair = truth[known], number[known]
            found["rmse"].append(metrics.root_mean_squared_error(*pair))
            found["mae"].append(metrics.mean_absolute_error(*pair))
            found["ccc"].append(concordance(*pair))
    return _floats({name: np.mean(values) for name, values in found.items()})


_METRICS: dict[str, Callable[[Answers], Metrics]] = {
    "single_label": _score_single, "multi_label": _score_multi, "ordinal": _score_ordinal,
    "regression": _score_regression,
}  # fmt: skip


def _floats(found: dict[str, Any]) -> Metrics:
    """Metrics that are defined, as plain numbers."""
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def concordance(truth: npt.NDArray[np.float64], number: npt.NDArray[np.float64]) -> float:
    """Concordance correlation: agreement in place and scale, 1 at best (Lin, 1989).

    Args:
        truth: (N,).
        number: (N,).

    Examples:
        >>> concordance(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0]))
        1.0
    """
    covariance = float(np.mean((truth - truth.mean()) * (number - number.mean())))
    spread = float(truth.var() + number.var() + (truth.mean() - number.mean()) ** 2)
    return 2 * covariance / spread if spread else 1.0


def calibration_error(confidences: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error: distance of confidence and accuracy, by bins of one width (Guo et al., 2017).

    Args:
        confidences: (N,), from 0 to 1.
        correct: (N,).

    Examples:
        >>> calibration_error(np.array([0.95, 0.95]), np.array([True, False]))
        0.45
    """
    bins = np.minimum((confidences * _BINS).astype(int), _BINS - 1)
    total = 0.0
    for each in np.unique(bins):
        here = bins == each
        total += float(here.mean()) * abs(float(confidences[here].mean()) - float(correct[here].mean()))
    return round(total, 12)


def _describe_classes(answers: Answers) -> tuple[dict[str, Metrics], list[list[int]]]:
    from sklearn import metrics

    kind, labels = answers.facts.kind, answers.facts.labels
    if kind == "regression":
        return {}, []
    if kind == "multi_label":
        known = ~np.isnan(answers.targets)
        truth, chosen = np.nan_to_num(answers.targets).astype(int), (answers.scores >= 0.5).astype(int) * known
    else:
        truth, chosen = _classes(answers)
    scores = metrics.precision_recall_fscore_support(
        truth, chosen, labels=range(len(labels)), average=None, zero_division=0
    )
    names = ("precision", "recall", "f1", "support")
    by_class = {
        label: _floats(dict(zip(names, values, strict=True)))
        for label, *values in zip(labels, *scores, strict=True)
    }
    if kind == "multi_label":
        return by_class, []
    return by_class, metrics.confusion_matrix(truth, chosen, labels=range(len(labels))).tolist()
