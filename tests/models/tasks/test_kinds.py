"""Losses of the kinds against plain loops, and what ordinal heads are for."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.models.tasks.kinds.base import LossOptions
from bigfoot.models.tasks.kinds.registry import find_kind
from bigfoot.models.tasks.shape import KINDS, TaskShape
from bigfoot.runtime.task_answers import TaskFacts, choose_classes, choose_labels, compute_scores

PLAIN = LossOptions()
NAN = float("nan")


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def shape_of(kind, **fields):
    return TaskShape(kind, ["a", "b", "c", "d"], **fields)


@pytest.mark.slow
@given(st.lists(st.lists(st.floats(-6, 6), min_size=3, max_size=3), min_size=1, max_size=4), st.data())
def test_ordinal_losses_are_those_of_a_plain_loop(logits, data):
    ratings = [data.draw(st.integers(0, 3)) for _ in logits]
    for link in ("coral", "corn"):
        found = find_kind(shape_of("ordinal", link=link)).losses(
            torch.tensor(logits), torch.tensor(ratings)[:, None].float(), PLAIN
        )
        for row, rating, loss in zip(logits, ratings, found.tolist(), strict=True):
            counted = [k for k in range(3) if link == "coral" or rating >= k]
            terms = [-math.log(sigmoid(row[k]) if rating > k else sigmoid(-row[k])) for k in counted]
            assert loss == pytest.approx(sum(terms) / 3, rel=1e-4, abs=1e-6)


@given(st.lists(st.floats(-30, 30), min_size=3, max_size=3))
def test_ratings_are_a_distribution(logits):
    for link in ("coral", "corn"):
        scores = compute_scores([logits], TaskFacts("ordinal", "abcd", link))
        assert scores.min() >= 0 and scores.sum() == pytest.approx(1)
    passed = [sigmoid(x) for x in logits]
    above = [passed[0], passed[0] * passed[1], passed[0] * passed[1] * passed[2], 0.0]
    expected = [1 - above[0], *(above[k] - above[k + 1] for k in range(3))]
    assert scores[0].tolist() == pytest.approx(expected)


def test_known_answers():
    facts = TaskFacts("ordinal", ["bad", "fair", "good"])
    scores = compute_scores([[5.0, -5.0], [5.0, 5.0], [-5.0, 5.0]], facts)
    assert choose_labels(scores, facts) == [["fair"], ["good"], ["bad"]]
    facts = TaskFacts("multi_label", ["x", "y"])
    assert choose_labels(compute_scores([[1.0, -1.0], [3.0, 2.0]], facts), facts) == [["x"], ["x", "y"]]
    facts = TaskFacts("regression", ["age"], center=[30.0], scale=[10.0])
    assert compute_scores([[0.5]], facts).tolist() == [[35.0]]
    facts = TaskFacts("single_label", ["x", "y"])
    assert choose_labels(compute_scores([[800.0, -800.0]], facts), facts) == [["x"]]
    assert compute_scores([[-800.0]], TaskFacts("multi_label", ["x"])).tolist() == [[0.0]]


@pytest.mark.parametrize("kind", KINDS)
def test_utterances_without_a_label_count_nowhere(kind):
    head = find_kind(shape_of(kind))
    logits = torch.randn(3, head.num_outputs, requires_grad=True)
    targets = torch.ones(3, head.target_width)
    targets[1] = NAN
    losses = head.losses(logits, targets, PLAIN)
    assert losses[1] == 0 and losses[0] > 0
    losses.sum().backward()
    assert logits.grad.isfinite().all() and not logits.grad[1].any() and logits.grad[2].any()


def test_a_label_that_is_not_known_changes_nothing():
    head = find_kind(shape_of("multi_label"))
    logits = torch.tensor([[0.3, -2.0, 5.0, 1.0]])
    partly = head.losses(logits, torch.tensor([[1.0, 0.0, NAN, NAN]]), PLAIN)
    assert partly.item() == pytest.approx((-math.log(sigmoid(0.3)) - math.log(sigmoid(2.0))) / 2)


def test_class_weights_and_smoothing():
    weights = torch.tensor([1.0, 5.0, 1.0, 1.0])
    logits, targets = torch.zeros(2, 4), torch.tensor([[0.0], [1.0]])
    single = find_kind(shape_of("single_label")).losses(logits, targets, LossOptions(weights))
    assert (single[1] / single[0]).item() == pytest.approx(5)
    ordinal = find_kind(shape_of("ordinal", link="coral")).losses(logits[:, :3], targets, LossOptions(weights))
    assert (ordinal[1] / ordinal[0]).item() == pytest.approx(5)
    multi = find_kind(shape_of("multi_label"))
    targets = torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    assert multi.losses(torch.zeros(1, 4), targets, LossOptions(weights)).item() == pytest.approx(2 * math.log(2))
    sure = torch.tensor([[-20.0, 20.0, -20.0, -20.0]])
    assert multi.losses(sure, targets, PLAIN).item() == pytest.approx(0, abs=1e-6)
    assert multi.losses(sure, targets, LossOptions(None, 0.1)).item() == pytest.approx(0.05 * 20, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_divergence_is_zero_at_the_teacher_and_above_elsewhere(kind):
    head = find_kind(shape_of(kind))
    teacher = torch.randn(5, head.num_outputs, generator=torch.Generator().manual_seed(0))
    assert head.divergences(teacher, teacher, 2.0).abs().max() < 1e-6
    ours = teacher + 0.3 * torch.randn(teacher.shape, generator=torch.Generator().manual_seed(1))
    assert (head.divergences(ours, teacher, 2.0) > 1e-5).all()


def test_coral_thresholds_do_not_cross_at_the_start():
    biases = find_kind(shape_of("ordinal", link="coral")).build_output(4).biases
    assert (biases.diff() < 0).all()
    shares = compute_scores(biases.detach()[None].numpy(), TaskFacts("ordinal", "abcd", "coral"))
    np.testing.assert_allclose(shares, 0.25, atol=1e-6)


def train(shape, features, ratings, steps=150):
    torch.manual_seed(0)
    kind = find_kind(shape)
    output = kind.build_output(features.shape[1])
    optimizer = torch.optim.Adam(output.parameters(), lr=0.05)
    for _ in range(steps):
        loss = kind.losses(output(features), ratings[:, None].float(), PLAIN).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    facts = TaskFacts(shape.kind, shape.labels, shape.link)
    return lambda unseen: choose_classes(compute_scores(output(unseen).detach().numpy(), facts), facts)


@pytest.mark.slow
@pytest.mark.parametrize("link", ["coral", "corn"])
def test_an_ordinal_head_beats_a_nominal_one_where_labels_are_in_order(link):
    """A rating is one direction cut at thresholds; an ordinal head finds it in few noisy examples."""
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(20, generator=generator)

    def draw(count):
        features = torch.randn(count, 20, generator=generator)
        hidden = features @ direction / direction.norm() + 0.3 * torch.randn(count, generator=generator)
        return features, torch.bucketize(hidden, torch.tensor([-1.0, -0.3, 0.3, 1.0]))

    (features, ratings), (unseen, truth) = draw(80), draw(2000)
    labels, kappa = list("abcde"), {}
    for kind in ("ordinal", "single_label"):
        predict = train(TaskShape(kind, labels, link=link), features, ratings)
        kappa[kind] = metrics.cohen_kappa_score(truth, predict(unseen), weights="quadratic")
    assert kappa["ordinal"] > kappa["single_label"] + 0.02
    assert kappa["ordinal"] > 0.8
