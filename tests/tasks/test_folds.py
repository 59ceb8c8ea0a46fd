"""All folds together: one score over all answers, and a gain with an interval of its own."""

import json

import numpy as np
import pytest

from bigfoot.models.tasks.shape import TaskShape
from bigfoot.pipeline.repeats import write_repeats
from bigfoot.report.rows import Report
from bigfoot.tasks.answers import Answers, task_facts
from bigfoot.tasks.folds import pack_answers, pack_floors, score_folds
from bigfoot.tasks.metrics import compare_answers, score_answers

SHAPES = {
    "macro_f1": TaskShape("single_label", ["no", "yes"]),
    "mae": TaskShape("regression", ["age"], center=[0.0], scale=[1.0]),
}


def answer(metric, truth, noise, rng):
    """Answers to 120 utterances of 30 speakers, further from the truth with more noise."""
    ids, speakers = ([f"{kind}{index // size:03}" for index in range(120)] for kind, size in (("u", 1), ("s", 4)))
    numbers = truth + noise * rng.standard_normal(120)
    scores = numbers[:, None] if metric == "mae" else np.stack([0.5 - numbers, 0.5 + numbers], 1)
    targets = truth if metric == "mae" else (truth > 0).astype(float)
    return Answers(ids, speakers, targets[:, None], scores, task_facts(SHAPES[metric]))


def split(answers, folds):
    """The rows of each fold, speakers whole, in no order."""
    fold = np.array([int(speaker[1:]) % folds for speaker in answers.speakers])
    for number in range(folds):
        rows = np.flatnonzero(fold == number)[::-1]
        yield Answers([answers.ids[row] for row in rows], [answers.speakers[row] for row in rows],
                      answers.targets[rows], answers.scores[rows], answers.facts)  # fmt: skip


@pytest.fixture(params=SHAPES)
def pooled(request):
    metric, rng = request.param, np.random.default_rng(3)
    truth = np.repeat(rng.standard_normal(30), 4)
    model, good, bad = (answer(metric, truth, noise, rng) for noise in (0.5, 1.5, 5.0))
    tasks = []
    for one, floor, other in zip(*(split(each, 3) for each in (model, good, bad)), strict=True):
        floors = {name: score_answers(each, metric, 0, 0) for name, each in (("bad", other), ("good", floor))}
        shape = {"kind": one.facts.kind, "labels": list(one.facts.labels), "center": list(one.facts.center),
                 "scale": list(one.facts.scale)}  # fmt: skip
        tasks.append([{"name": "train_task", "split": "test", "shape": shape, "metric": metric,
                       "answers": pack_answers(one), "floor_answers": pack_floors(floors)}])  # fmt: skip
    return metric, tasks, model, good


def test_the_score_is_that_of_all_answers(pooled):
    metric, tasks, model, good = pooled
    bad, floor, ours, *by_speaker = score_folds(json.loads(json.dumps(tasks)), 50, 1)
    assert [bad.model, floor.model, ours.model] == ["floor: bad", "floor: good", "train_task"]
    expected = score_answers(model, metric, 50, 1)
    assert (ours.score.metrics, ours.score.low, ours.score.high) == (expected.metrics, expected.low, expected.high)
    assert ours.gain == compare_answers(model, good, metric, 50, 1)
    assert [each.per for each in by_speaker] == ["speaker"] * 3
    assert by_speaker[-1].score.num_utterances == 30


def test_the_gain_is_that_of_a_plain_loop(pooled):
    metric, _, model, good = pooled
    sign = -1 if metric == "mae" else 1
    value = [score_answers(each, metric, 0, 0).metrics[metric] for each in (model, good)]
    gain, low, high = compare_answers(model, good, metric, 40, 5)
    assert gain == pytest.approx(sign * (value[0] - value[1])) and low <= gain <= high and low > 0
    rng, drawn = np.random.default_rng(5), []
    for _ in range(40):
        rows = np.concatenate([np.arange(4 * unit, 4 * unit + 4) for unit in rng.integers(30, size=30)])
        ours, theirs = (score_answers(each.take(rows), metric, 0, 0).metrics[metric] for each in (model, good))
        drawn.append(sign * (ours - theirs))
    assert (low, high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist())
    assert compare_answers(model, next(split(good, 3)), metric, 5, 0) is None
    (shuffled,) = split(good, 1)
    assert compare_answers(model, shuffled, metric, 40, 5) == (gain, low, high)


def test_folds_of_other_labels_or_models_are_not_joined(pooled, tmp_path):
    _, tasks, *_ = pooled
    other = [dict(tasks[0][0], shape={"kind": "multi_label", "labels": ["a", "b"]})]
    assert score_folds([other, *tasks[1:]], 5, 0) == [] == score_folds([[], *tasks[1:]], 5, 0)
    reports = {f"seed1-fold{fold}": Report("", tasks=entries) for fold, entries in enumerate([other, *tasks[1:]])}
    assert "train_task.labels" in write_repeats(reports, tmp_path).read_text()
    renamed = [dict(tasks[0][0], name="student")]
    assert {each.model for each in score_folds([renamed, *tasks[1:]], 5, 0)} == {"floor: bad", "floor: good"}


def test_the_table_has_each_seed(pooled, tmp_path):
    _, tasks, *_ = pooled
    config = {"seed": 4, "evaluate": {"bootstrap_samples": 10}}
    reports = {f"seed{seed}-fold{fold}": Report("", tasks=tasks[fold], config=config)
               for seed in (4, 5) for fold in range(3)}  # fmt: skip
    text = write_repeats(reports, tmp_path).read_text()
    found = json.loads((tmp_path / "repeats.json").read_text())["pooled"]
    assert [(each["seed"], each["model"]) for each in found if each["gain"]] == [
        (seed, "train_task") for seed in (4, 4, 5, 5)
    ]  # fmt: skip
    assert text.count("| train_task |") == 4
    assert json.loads(write_repeats({"seed4": Report("", tasks=tasks[0])}, tmp_path).with_suffix(".json").read_text())[
        "pooled"
    ] == []  # fmt: skip
