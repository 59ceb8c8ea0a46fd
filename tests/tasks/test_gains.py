"""What a model gains on the best of its floors."""

import pytest

from bigfoot.tasks.gains import add_floors_, compare_with_floors, find_best_floor
from bigfoot.tasks.metrics import compare_answers, score_answers
from tests.tasks.test_folds import SHAPES, answer


@pytest.mark.parametrize(
    ("metric", "value", "gain", "verdict"),
    [
        ("accuracy", 0.8, [0.1, 0.01, 0.2], "better"), ("accuracy", 0.8, [0.1, -0.1, 0.3], "better, by chance"),
        ("accuracy", 0.8, None, "better"), ("accuracy", 0.6, [-0.1, -0.2, -0.01], "worse"),
        ("mae", 0.2, [0.2, 0.1, 0.3], "better"), ("mae", 0.8, [-0.4, -1, 0.1], "worse, by chance"),
    ],
)  # fmt: skip
def test_a_model_is_compared_with_the_best_of_its_floors(metric, value, gain, verdict):
    best, worse = (0.7, 0.4) if metric == "accuracy" else (0.4, 0.7)
    first = {"split": "test", "name": "teacher", "floors": {"worse": {metric: worse}, "best": {metric: best}}}
    last = {"split": "test", "name": "last", "metric": metric, "metrics": {metric: value}, "gain": gain}
    (found,) = compare_with_floors([first, last, {"split": "dev", "name": "x", "metric": metric, "metrics": {}}])
    assert f"{best:.3f}" in found and f"{value:.3f}" in found
    assert ("not" in found.split(), "chance" in found) == ("worse" in verdict, "chance" in verdict)
    assert (gain is None) or f"{gain[1]:+.3f}" in found


@pytest.mark.parametrize("metric", SHAPES)
def test_each_model_has_its_gain_on_the_same_floor(metric):
    import numpy as np

    rng = np.random.default_rng(3)
    truth = np.repeat(rng.standard_normal(30), 4)
    model, other, good, bad = (answer(metric, truth, noise, rng) for noise in (0.5, 1.0, 1.5, 5.0))
    floors = {name: score_answers(each, metric, 20, 1) for name, each in (("bad", bad), ("good", good))}
    assert find_best_floor(floors, metric) == "good" and find_best_floor({}, metric) is None
    entries = [{"name": name, "metric": metric} for name in ("teacher", "last", "absent")]
    entries.append({"name": "last", "metric": "another"})
    add_floors_(entries, {"teacher": other, "last": model}, floors, 20, 1)
    assert [entry.get("gain") for entry in entries] == [
        compare_answers(each, good, metric, 20, 1) for each in (other, model)
    ] + [None, None]
    assert list(entries[0]["floors"]) == ["bad", "good"] and "floors" not in entries[1]
    assert entries[0]["floor_intervals"]["good"] == [floors["good"].low, floors["good"].high]
