"""Metrics on answers whose scores are known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.runtime.task_answers import TaskFacts
from bigfoot.tasks.answers import Answers
from bigfoot.tasks.metrics import calibration_error, concordance, score_answers
from bigfoot.tasks.settings import METRICS

NAN = float("nan")


def answers(kind, labels, targets, scores, speakers=None):
    targets = np.array(targets, dtype=float).reshape(len(targets), -1)
    names = [f"u{n}" for n in range(len(targets))]
    return Answers(names, speakers or names, targets, np.array(scores, dtype=float), TaskFacts(kind, labels))


def one_hot(classes, count):
    return np.eye(count)[classes]


@pytest.mark.slow
def test_one_class_of_several():
    found = answers("single_label", ["a", "b", "c"], [0, 0, 1, 2, NAN], one_hot([0, 1, 1, 2, 0], 3))
    score = score_answers(found, "macro_f1", samples=100, seed=0)
    assert score.metrics["accuracy"] == 0.75
    assert score.metrics["balanced_accuracy"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert score.metrics["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert score.metrics["weighted_f1"] == pytest.approx((2 * 2 / 3 + 2 / 3 + 1) / 4)
    assert score.metrics["ece"] == pytest.approx(0.25)
    assert score.confusion == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert score.per_class["a"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2.0}
    assert score.num_utterances == 4 and score.low < score.metrics["macro_f1"] <= score.high


def test_several_labels_at_once():
    truth = [[1, 0], [0, 1], [1, NAN], [0, 0]]
    scores = [[0.9, 0.2], [0.3, 0.8], [0.4, 0.9], [0.2, 0.6]]
    score = score_answers(answers("multi_label", ["x", "y"], truth, scores), "auroc", samples=20, seed=0)
    assert score.metrics["auroc"] == 1.0 and score.metrics["average_precision"] == 1.0
    assert score.metrics["macro_f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert score.metrics["accuracy"] == pytest.approx(5 / 7)
    assert score.confusion == [] and set(score.per_class) == {"x", "y"}


def test_ratings():
    found = answers("ordinal", ["1", "2", "3"], [0, 1, 2, 2], one_hot([0, 1, 2, 0], 3))
    score = score_answers(found, "quadratic_kappa", samples=0, seed=0)
    assert score.metrics["mae"] == 0.5
    observed, expected = 4, (1 * (2 * 0 + 1 * 1 + 1 * 4) + 1 * (2 * 1 + 0 + 1 * 1) + 2 * (2 * 4 + 1 * 1 + 0)) / 4
    assert score.metrics["quadratic_kappa"] == pytest.approx(1 - observed / expected)
    assert (score.low, score.high) == (None, None)


def test_numbers():
    found = answers("regression", ["age"], [10, 20, NAN, 30], [[12], [20], [99], [28]])
    score = score_answers(found, "ccc", samples=10, seed=0)
    assert score.metrics["rmse"] == pytest.approx(np.sqrt(8 / 3))
    assert score.metrics["mae"] == pytest.approx(4 / 3)
    assert 0.9 < score.metrics["ccc"] < 1


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=20, unique=True))
def test_concordance_punishes_place_and_scale(numbers):
    truth = np.array(numbers, dtype=float)
    assert concordance(truth, truth) == pytest.approx(1)
    assert concordance(truth, truth + truth.std()) < 0.9
    assert concordance(truth, 3 * truth - 2 * truth.mean()) < 0.9
    assert concordance(truth, np.full(len(truth), truth.mean())) == pytest.approx(0, abs=1e-9)


def test_sure_and_right_is_calibrated():
    assert calibration_error(np.array([1.0, 1.0]), np.array([True, True])) == 0
    half = np.array([0.5, 0.5, 0.9, 0.9])
    assert calibration_error(half, np.array([True, False, False, False])) == pytest.approx(0.45)


def test_the_interval_is_over_speakers():
    """Answers of one speaker stand and fall together: by speaker the interval is wider than by utterance."""
    rng = np.random.default_rng(0)
    speakers = [f"s{n // 10}" for n in range(400)]
    right = np.repeat(rng.random(40) < 0.7, 10)
    truth = rng.integers(0, 2, 400)
    scores = one_hot(np.where(right, truth, 1 - truth), 2)
    by_speaker = score_answers(answers("single_label", ["a", "b"], truth, scores, speakers), "accuracy", 60, 0)
    by_utterance = score_answers(answers("single_label", ["a", "b"], truth, scores, ["s"] * 400), "accuracy", 60, 0)
    assert (by_speaker.unit, by_utterance.unit) == ("speaker", "utterance")
    widths = [score.high - score.low for score in (by_speaker, by_utterance)]
    assert widths[0] > 2 * widths[1]


@pytest.mark.parametrize(
    ("kind", "truth", "scores", "metric", "expected"),
    [
        # Right of both speakers' means, and wrong of some of their utterances; the third speaker has no label.
        ("single_label", [0, 0, 0, 1, 1, 1, NAN], [.4, .4, .9, .6, .6, .1, .9], "accuracy", 1.0),
        ("ordinal", [0, 0, 0, 1, 1, 1, NAN], [.4, .4, .9, .6, .6, .1, .9], "mae", 0.0),
        ("regression", [9, 9, 9, 3, 3, 3, NAN], [6, 9, 13.5, 3, 4, 2, 50], "mae", 0.25),
    ],
)  # fmt: skip
def test_one_answer_a_speaker_is_the_mean_of_its_scores(kind, truth, scores, metric, expected):
    numbers, speakers = kind == "regression", [*"aaabbbc"]
    rows = np.array(scores)[:, None] if numbers else np.stack([np.array(scores), 1 - np.array(scores)], 1)
    found = answers(kind, ["x"] if numbers else ["x", "y"], truth, rows, speakers)
    pooled = score_answers(found, metric, 20, 0).by_speaker
    assert pooled.metrics[metric] == pytest.approx(expected) and pooled.num_utterances == 2
    # One speaker, one utterance each, several labels a speaker, a speaker who is not known.
    for who in (["a"] * 7, [*"abcdefg"], [*"abababc"], [*"aaabb", "unknown", "c"]):
        assert score_answers(replace(found, speakers=who), metric, 0, 0).by_speaker is None


@pytest.mark.parametrize("kind", METRICS)
def test_every_metric_is_computed(kind):
    truth = [[1, 0], [0, 1], [0, 1]] if kind == "multi_label" else [0, 1, 1]
    scores = [[0.7, 0.3], [0.2, 0.8], [0.6, 0.4]] if kind != "regression" else [[0.0], [1.0], [2.0]]
    score = score_answers(answers(kind, ["a", "b"], truth, scores), METRICS[kind][0], 0, 0)
    assert set(METRICS[kind]) <= set(score.metrics)


def test_without_labels_there_is_no_score():
    score = score_answers(answers("single_label", ["a", "b"], [NAN], [[0.5, 0.5]]), "accuracy", 10, 0)
    assert score.metrics == {} and score.num_utterances == 0


@pytest.mark.slow
@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
def test_metrics_of_classes_are_those_of_scikit_learn_to_the_bit(pairs):
    from sklearn import metrics

    truth, chosen = np.array(pairs).T
    found = score_answers(answers("single_label", [*"abcde"], truth, one_hot(chosen, 5)), "accuracy", 0, 0).metrics
    assert found.items() >= {
        "macro_f1": metrics.f1_score(truth, chosen, average="macro", zero_division=0),
        "weighted_f1": metrics.f1_score(truth, chosen, average="weighted", zero_division=0),
        "accuracy": metrics.accuracy_score(truth, chosen),
        "balanced_accuracy": metrics.recall_score(
            truth, chosen, labels=np.unique(truth), average="macro", zero_division=0
        ),
    }.items()
