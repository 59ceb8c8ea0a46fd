"""Metrics of the kinds of tasks, as scikit-learn has them, with intervals by speaker.

Two are not in scikit-learn: Lin's concordance correlation and the expected calibration error.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bigfoot.measure.error_rate import assign_units
from bigfoot.runtime.task_answers import choose_classes
from bigfoot.tasks.answers import Answers
from bigfoot.tasks.settings import LOWER_IS_BETTER

Metrics: TypeAlias = dict[str, float]
Metric: TypeAlias = Callable[[Answers], float]
Floats: TypeAlias = npt.NDArray[np.float64]
Classes: TypeAlias = npt.NDArray[np.int64]
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
        by_speaker: score of one answer a speaker (see ``Answers.pool_speakers``); None where there is none.
        answers: what is scored, utterances without a label too.
    """

    metrics: Metrics
    metric: str
    low: float | None
    high: float | None
    unit: str
    num_utterances: int
    per_class: dict[str, Metrics] = field(default_factory=dict)
    confusion: list[list[int]] = field(default_factory=list)
    by_speaker: TaskScore | None = None
    answers: Answers | None = field(default=None, repr=False, compare=False)

    @property
    def entry(self) -> dict[str, Any]:
        """What a report's table shows of it."""
        return {"metric": self.metric, "metrics": self.metrics, "interval": [self.low, self.high]}


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
    computed = _METRICS[answers.facts.kind]
    units, unit = assign_units(known.speakers)
    metrics = _floats({name: compute(known) for name, compute in computed.items()}) if len(known.ids) else {}
    resampled = _resample(known, units, computed[metric], samples, seed)
    low, high = np.quantile(resampled, [0.025, 0.975]).tolist() if resampled else (None, None)
    per_class, confusion = _describe_classes(known) if len(known.ids) else ({}, [])
    pooled = known.pool_speakers()
    by_speaker = None if pooled is None else score_answers(pooled, metric, samples, seed)
    return TaskScore(metrics, metric, low, high, unit, len(known.ids), per_class, confusion, by_speaker, answers)


def compare_answers(
    ours: Answers, theirs: Answers, metric: str, samples: int, seed: int
) -> tuple[float, float, float] | None:  # fmt: skip
    """Compare two models on the same utterances, drawn together for both.

    Args:
        ours: answers of a model.
        theirs: answers of another to the same utterances, in any order.
        metric: name of the one to compare.
        samples: bootstrap resamples.
        seed: of the resampling.

    Returns:
        How much better the first is, above 0, and its 95 % interval; None where the metric is not defined, or the
        utterances are not the same.
    """
    ours, theirs = (each.known().sorted_by_id() for each in (ours, theirs))
    compute, sign = _METRICS[ours.facts.kind][metric], -1.0 if metric in LOWER_IS_BETTER else 1.0
    units, _ = assign_units(ours.speakers)
    if ours.ids != theirs.ids or not len(ours.ids):
        return None
    drawn = [np.array(_resample(each, units, compute, samples, seed)) for each in (ours, theirs)]
    if not drawn[0].size or len(drawn[0]) != len(drawn[1]):
        return None
    low, high = np.quantile(sign * (drawn[0] - drawn[1]), [0.025, 0.975]).tolist()
    return sign * (compute(ours) - compute(theirs)), low, high


def _resample(
    answers: Answers, units: npt.NDArray[np.intp], compute: Metric, samples: int, seed: int
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
    return [value for value in found if np.isfinite(value)]


def _classes(answers: Answers) -> tuple[Classes, Classes]:
    return answers.targets[:, 0].astype(np.int64), choose_classes(answers.scores, answers.facts)


def _of_classes(compute: Callable[..., float]) -> Metric:
    """Return a metric of true and chosen classes."""
    return lambda answers: compute(*_classes(answers))


def _recall(truth: Classes, chosen: Classes) -> float:
    hits, true, _ = _count_classes(truth, chosen)
    # Over the classes that are there: an answer that names another is no recall of that one.
    return float(np.average(hits[true > 0] / true[true > 0]))


def _accuracy(truth: Classes, chosen: Classes) -> float:
    return float((truth == chosen).mean())


def _f1(average: str) -> Callable[[Classes, Classes], float]:
    def compute(truth: Classes, chosen: Classes) -> float:
        hits, true, named = _count_classes(truth, chosen)
        return float(np.average(2 * hits / (true + named), weights=true if average == "weighted" else None))

    return compute


def _count_classes(truth: Classes, chosen: Classes) -> tuple[Classes, Classes, Classes]:
    """Count right answers, true and chosen ones, by class that is in either.

    These metrics are scikit-learn's to the bit; its own check their arguments for milliseconds, a bootstrap asks for
    thousands of them.
    """
    size = int(max(truth.max(), chosen.max())) + 1
    true, named = (np.bincount(classes, minlength=size) for classes in (truth, chosen))
    there = true + named > 0
    return np.bincount(truth[truth == chosen], minlength=size)[there], true[there], named[there]


def _mean_distance(truth: Classes, chosen: Classes) -> float:
    from sklearn.metrics import mean_absolute_error

    return mean_absolute_error(truth, chosen)


def _kappa(truth: Classes, chosen: Classes) -> float:
    from sklearn.metrics import cohen_kappa_score

    with warnings.catch_warnings():
        # Of one rating alone there is no agreement beyond chance to speak of.
        warnings.simplefilter("ignore")
        return cohen_kappa_score(truth, chosen, weights="quadratic")


def _calibration(answers: Answers) -> float:
    right = answers.scores.argmax(-1) == answers.targets[:, 0]
    return calibration_error(answers.scores.max(-1), right)


def _by_label(compute: Callable[[Floats, Floats], float | None]) -> Metric:
    """Return the mean of a metric over the columns of the targets; a column without it is left out."""

    def mean(answers: Answers) -> float:
        found = []
        for truth, score in zip(answers.targets.T, answers.scores.T, strict=True):
            known = ~np.isnan(truth)
            value = compute(truth[known], score[known]) if known.any() else None
            if value is not None:
                found.append(value)
        return float(np.mean(found)) if found else float("nan")

    return mean


def _label_f1(truth: Floats, score: Floats) -> float | None:
    from sklearn.metrics import f1_score

    return f1_score(truth > 0.5, score >= 0.5, zero_division=0) if truth.any() else None


def _average_precision(truth: Floats, score: Floats) -> float | None:
    from sklearn.metrics import average_precision_score

    return average_precision_score(truth > 0.5, score) if truth.any() else None


def _auroc(truth: Floats, score: Floats) -> float | None:
    from sklearn.metrics import roc_auc_score

    return roc_auc_score(truth > 0.5, score) if 0 < truth.mean() < 1 else None


def _label_accuracy(answers: Answers) -> float:
    known = ~np.isnan(answers.targets)
    return float(((answers.scores >= 0.5) == (answers.targets > 0.5))[known].mean())


def _rmse(truth: Floats, number: Floats) -> float:
    from sklearn.metrics import root_mean_squared_error

    return root_mean_squared_error(truth, number)


def _mae(truth: Floats, number: Floats) -> float:
    from sklearn.metrics import mean_absolute_error

    return mean_absolute_error(truth, number)


def _floats(found: dict[str, Any]) -> Metrics:
    """Metrics that are defined, as plain numbers."""
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def concordance(truth: Floats, number: Floats) -> float:
    """Compute the concordance correlation: agreement in place and scale, 1 at best (Lin, 1989).

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


def calibration_error(confidences: Floats, correct: npt.NDArray[np.bool_]) -> float:
    """Compute the expected calibration error: confidence against accuracy, by bins of one width (Guo et al., 2017).

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


_CLASSES: dict[str, Metric] = {
    "macro_f1": _of_classes(_f1("macro")), "weighted_f1": _of_classes(_f1("weighted")),
    "accuracy": _of_classes(_accuracy), "balanced_accuracy": _of_classes(_recall), "ece": _calibration,
}  # fmt: skip
_METRICS: dict[str, dict[str, Metric]] = {
    "single_label": _CLASSES,
    "multi_label": {
        "macro_f1": _by_label(_label_f1), "average_precision": _by_label(_average_precision),
        "auroc": _by_label(_auroc), "accuracy": _label_accuracy,
    },
    "ordinal": {"quadratic_kappa": _of_classes(_kappa), "mae": _of_classes(_mean_distance), **_CLASSES},
    "regression": {"ccc": _by_label(concordance), "rmse": _by_label(_rmse), "mae": _by_label(_mae)},
}  # fmt: skip


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
