"""What the page of a task shows: bins against a plain count, attention where the frames are, audio that plays."""

import base64
import io

import numpy as np
import pytest
import soundfile

from bigfoot.formats.folder import LoadedModel
from bigfoot.report.render_html import render_html
from bigfoot.report.rows import Report
from bigfoot.report.tasks import tabulate_tasks
from bigfoot.runtime.task_answers import TaskFacts
from bigfoot.tasks.answers import Answers, answer_manifest
from bigfoot.tasks.metrics import calibration_error
from bigfoot.tasks.showing import project, reliability, show_answers
from bigfoot.text.tokenizers import Processor

pytest.importorskip("sklearn")


def answers_of(scores, targets, kind="single_label"):
    count = len(targets)
    facts = TaskFacts(kind, ["a", "b"])
    return Answers([str(i) for i in range(count)], ["s"] * count, np.asarray(targets, float), np.asarray(scores), facts)


def test_reliability_is_the_calibration_error_bin_by_bin():
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1.0, 200)
    targets = np.where(rng.random(200) < 0.7, 0.0, 1.0)
    bins = reliability(answers_of(np.stack([sure, 1 - sure], 1), targets[:, None]))
    assert sum(each["count"] for each in bins) == 200 and len(bins) == 5
    gap = sum(each["count"] / 200 * abs(each["confidence"] - each["accuracy"]) for each in bins)
    assert gap == pytest.approx(calibration_error(sure, targets == 0))
    assert reliability(answers_of([[30.0]], [[31.0]], "regression")) == []


def test_the_projection_separates_what_is_far_apart():
    rng = np.random.default_rng(0)
    answers = answers_of(np.full((40, 2), 0.5), np.repeat([0.0, 1.0], 20)[:, None])
    answers.pooled.resize((40, 6), refcheck=False)
    answers.pooled[:] = rng.normal(size=(40, 6)) + np.repeat([0.0, 50.0], 20)[:, None]
    places = project(answers)
    first, second = ([p["x"] for p in places if p["label"] == label] for label in ("a", "b"))
    assert len(places) == 40 and (max(first) < min(second) or max(second) < min(first))


@pytest.mark.slow
def test_a_page_plays_the_worst_and_draws_the_attention(task_model, voices):
    model = task_model(pooling="attention", layers="last")
    answers = answer_manifest(model, voices["test"], Processor(), 4)
    shown = show_answers(LoadedModel(model, Processor()), voices["test"], answers, players=3)
    losses = [item["loss"] for item in shown["worst"]]
    assert len(losses) == 3 and losses == sorted(losses, reverse=True)
    sound = base64.b64decode(shown["worst"][0]["audio"].partition(",")[2])
    samples, rate = soundfile.read(io.BytesIO(sound))
    assert rate == 16_000 and len(samples) > 1000
    for item in shown["attention"]:
        assert sum(item["shares"]) == pytest.approx(1.0, abs=1e-3) and max(item["peaks"]) > 0
    task = {"name": "train_task", "split": "test", "kind": "single_label", "metric": "accuracy", "shown": shown,
            "metrics": {"accuracy": 0.75}, "interval": [0.5, 1.0], "floors": {"majority": {"accuracy": 0.5}},
            "floor_intervals": {"majority": [0.25, 0.625]}}  # fmt: skip
    page = render_html(Report("demo", tasks=[task]))
    assert page.count("<audio ") == 3 and page.count("<svg ") >= 3 and "media-src data:" in page
    (_, table), *_ = tabulate_tasks([task])
    assert table.cells == [["floor: majority", "0.500 [0.250, 0.625]"], ["train_task", "0.750 [0.500, 1.000]"]]
    task["by_speaker"] = {"metric": "mae", "metrics": {"mae": 1.5}, "floors": {"mean": {"mae": 2.0}}}
    assert [*tabulate_tasks([task])][1][1].cells == [["floor: mean", "2.000"], ["train_task", "1.500"]]
    task["shown"] = {"worst": [{**shown["worst"][0], "audio": "https://example.org/a.mp3"}]}
    assert "<audio " not in render_html(Report("demo", tasks=[task]))
    assert "worst" not in show_answers(LoadedModel(model, Processor()), voices["test"], answers, players=0)
