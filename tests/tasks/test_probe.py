"""Linear probes: scikit-learn's own answers, as the logits of a head."""

import numpy as np
import pytest
import torch

from bigfoot.models.tasks.shape import TaskShape
from bigfoot.runtime.task_answers import choose_classes, compute_scores
from bigfoot.tasks.answers import answer_manifest, task_facts
from bigfoot.tasks.probe import fit_linear, fit_probe_
from bigfoot.text.tokenizers import Processor

pytest.importorskip("sklearn")
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(3.0, [1.0, 20.0, 0.1, 1.0], (120, 4))


@pytest.mark.parametrize("classes", [[0, 1], [0, 2, 3]])
def test_classes_are_those_of_scikit_learn(classes):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels = np.array(classes)[np.digitize(FEATURES[:, 1] + 30 * FEATURES[:, 2], [85, 100][: len(classes) - 1])]
    targets = labels[:, None].astype(float)
    targets[:5] = np.nan
    shape = TaskShape("single_label", list("abcd"))
    weight, bias = fit_linear(shape, FEATURES, targets, 0.1)
    scores = compute_scores(FEATURES @ weight.T + bias, task_facts(shape))
    rows = StandardScaler().fit(FEATURES).transform(FEATURES[5:])
    plain = LogisticRegression(C=0.1, max_iter=500).fit(rows, labels[5:])
    expected = make_pipeline(StandardScaler().fit(FEATURES), plain).predict_proba(FEATURES)
    np.testing.assert_allclose(scores[:, classes], expected, atol=1e-3)
    assert (choose_classes(scores, task_facts(shape)) == labels).mean() > 0.8
    only = fit_linear(shape, FEATURES, np.full((120, 1), 2.0), 0.1)
    assert not only[0].any() and only[1].argmax() == 2


def test_ratings_labels_and_numbers():
    truth = np.digitize(FEATURES[:, 0], [2.5, 3.5])
    ratings = TaskShape("ordinal", ["low", "middle", "high"])
    weight, bias = fit_linear(ratings, FEATURES, truth[:, None].astype(float), 100.0)
    scores = compute_scores(FEATURES @ weight.T + bias, task_facts(ratings))
    assert (choose_classes(scores, task_facts(ratings)) == truth).mean() > 0.95
    shared = TaskShape("ordinal", ["low", "middle", "high"], link="coral")
    for balanced in (False, True):
        weight, bias = fit_linear(shared, FEATURES, truth[:, None].astype(float), 100.0, balanced=balanced)
        assert (weight == weight[0]).all() and bias[0] > bias[1]
        scores = compute_scores(FEATURES @ weight.T + bias, task_facts(shared))
        assert (choose_classes(scores, task_facts(shared)) == truth).mean() > 0.9
    for only in (0.0, 2.0):
        weight, bias = fit_linear(shared, FEATURES, np.full((120, 1), only), 1.0)
        scores = compute_scores(FEATURES @ weight.T + bias, task_facts(shared))
        assert (choose_classes(scores, task_facts(shared)) == only).all()
    several = TaskShape("multi_label", ["high", "always", "odd"])
    targets = np.stack([truth == 2, np.ones(120), np.full(120, np.nan)], 1).astype(float)
    weight, bias = fit_linear(several, FEATURES, targets, 10.0)
    chosen = FEATURES @ weight.T + bias > 0
    assert (chosen[:, 0] == (truth == 2)).mean() > 0.95 and chosen[:, 1].all()
    numbers = TaskShape("regression", ["x"], center=[5.0], scale=[2.0])
    weight, bias = fit_linear(numbers, FEATURES, FEATURES[:, :1] * 3 - 1, 1e6)
    found = compute_scores(FEATURES @ weight.T + bias, task_facts(numbers))
    np.testing.assert_allclose(found[:, 0], FEATURES[:, 0] * 3 - 1, atol=1e-3)


def test_a_head_starts_where_its_features_tell_classes_apart(task_model, voices):
    model = task_model(fbank=8)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sentence = fit_probe_(model, voices, Processor(), 4, balanced=False)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"task_head.output.weight", "task_head.output.bias"} and sentence


def test_one_direction_for_all_thresholds_is_a_start_too(task_model, voices):
    model = task_model(kind="ordinal", labels=["female", "male", "none"], link="coral")
    assert fit_probe_(model, voices, Processor(), 4, balanced=True)
    answers = answer_manifest(model, voices["dev"], Processor(), 4)
    head = model.task_head.output
    expected = answers.pooled @ head.direction.weight[0].double().detach().numpy()
    np.testing.assert_allclose(answers.logits, expected[:, None] + head.biases.double().detach().numpy(), atol=1e-4)
