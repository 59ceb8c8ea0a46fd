"""Task runs: a head is trained, resumed and reported, and its model is compressed like any other."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bigfoot.audio.files import write_audio
from bigfoot.data.batches import iterate_utterances
from bigfoot.formats.folder import load_model
from bigfoot.pipeline import run_pipeline
from bigfoot.pipeline.checks import find_problems
from bigfoot.pipeline.facts import SKIPPED
from bigfoot.pipeline.plan import resolve_plan
from bigfoot.report.rows import load_report
from bigfoot.runtime.task_answers import choose_labels
from bigfoot.tasks.answers import answer_manifest

TASK = (
    "steps=[train_task]", "data.labels=[sex,traits]", "data.transcripts=none", "train_task.column=sex",
    "train_task.max_steps=4", "train_task.eval_every=2", "train_task.checkpoint_every=2", "train_task.warmup_steps=1",
    "train_task.log_every=1", "measure.speed=false", "data.num_test=8", "data.num_dev=6",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(small_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("task") / "run"
    run_pipeline(small_config(folder, *TASK, "train_task.freeze=[feature_encoder]"))
    return folder


@pytest.mark.slow
def test_the_report_has_the_score_beside_the_floors(trained):
    report = load_report(trained / "report")
    teacher, row = report.rows
    assert (teacher.name, teacher.score, row.name, row.metric) == ("teacher", None, "train_task", "macro_f1")
    assert 0 <= row.score_low <= row.score <= row.score_high <= 1
    assert row.num_utterances == 8 and row.batch_invariant and row.wer is None
    (task,) = report.tasks
    assert len(task["floors"]) == 2 and "majority" in task["floors"]
    assert sum(map(sum, task["confusion"])) == 8 and task["labels"] == ["female", "male"]
    assert any("parameters learn" in change for change in report.changes)
    records = [record for record in report.losses["train_task"] if "dev_score" in record]
    assert [record["step"] for record in records] == [2, 4]
    text = (trained / "report" / "report.md").read_text()
    assert "macro f1 [95 %]" in text and "WER %" not in text and "## Task" in text
    assert "<h2>Task</h2>" in (trained / "report" / "report.html").read_text()


def test_metrics_package_is_needed_by_this_step_alone(small_config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    found = find_problems(resolve_plan(small_config(tmp_path, *TASK)))
    assert [(problem.key, problem.code) for problem in found] == [("train_task.kind", "missing_package")]
    assert list(find_problems(resolve_plan(small_config(tmp_path)))) == []


def test_a_finished_run_is_not_run_again(trained, small_config):
    before = (trained / "train_task" / "model" / "model.safetensors").stat().st_mtime_ns
    run_pipeline(small_config(trained, *TASK, "train_task.freeze=[feature_encoder]"))
    assert (trained / "train_task" / "model" / "model.safetensors").stat().st_mtime_ns == before
    log = (trained / "log.txt").read_text()
    assert f"train_task: {SKIPPED}" in log


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_bits(trained, small_config, tmp_path, monkeypatch):
    from bigfoot.training.loop import Trainer

    after_step = Trainer._after_step

    def stop(self, *arguments):
        after_step(self, *arguments)
        if self.progress.step == 3:
            raise KeyboardInterrupt

    config = small_config(tmp_path / "run", *TASK, "train_task.freeze=[feature_encoder]")
    monkeypatch.setattr(Trainer, "_after_step", stop)
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(config, until="train_task")
    monkeypatch.setattr(Trainer, "_after_step", after_step)
    run_pipeline(config, until="train_task")
    folders = tmp_path / "run" / "train_task" / "model", trained / "train_task" / "model"
    ours, theirs = (load_model(folder).model.state_dict() for folder in folders)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_a_new_head_takes_the_place_of_one_for_other_labels(trained, small_config, tmp_path):
    teacher = trained / "train_task" / "model"
    other = ("train_task.kind=multi_label", "train_task.column=traits", "train_task.new_head=true",
             "train_task.metric=loss", "train_task.max_steps=2", "train_task.floors=false")  # fmt: skip
    run_pipeline(small_config(tmp_path / "run", *TASK, *other, f"teacher.path={teacher}"), until="train_task")
    old, new = (load_model(folder).model for folder in (teacher, tmp_path / "run" / "train_task" / "model"))
    assert new.config.task["kind"] == "multi_label" and old.config.task["kind"] == "single_label"


@pytest.mark.slow
@pytest.mark.usefixtures("quick_report")
def test_a_student_with_the_head_of_its_teacher_classifies_when_exported(trained, small_config, bigfoot, tmp_path):
    """The chain student, distill, fine-tune, quantize, export, classify: the labels of the report's model."""
    teacher = trained / "train_task" / "model"
    steps = ("steps=[student,distill,train_task,quantize]", "distill.losses.logit_kl.weight=0",
             "distill.losses.task_kl.weight=1", "distill.losses.hidden.weight=1", "student.num_hidden_layers=2",
             "train_task.floors=false", "distill.max_steps=4", "distill.eval_every=4", "quantize.precision=float16",
             "train_task.max_steps=2")  # fmt: skip
    run_pipeline(small_config(tmp_path / "run", *TASK, *steps, f"teacher.path={teacher}"))
    report = load_report(tmp_path / "run" / "report")
    assert [row.name for row in report.rows] == ["teacher", "student_init", "distill", "train_task", "quantize"]
    assert all(row.score is not None and row.metric == "macro_f1" for row in report.rows)
    assert report.rows[-1].num_unique_params < report.rows[0].num_unique_params
    assert "task_kl" in report.losses["distill"][0] and "task" in report.losses["train_task"][0]
    assert not report.tasks[0].get("floors")
    student = load_model(tmp_path / "run" / "quantize" / "model").model
    assert student.config.task["labels"] == ["female", "male"] and student.config.num_hidden_layers == 2
    assert student.config.precision == "float16"
    # What the last model answers on test, and what its exported file does, by the one runtime without torch.
    split = tmp_path / "run" / "data" / "cuts_test.jsonl.gz"
    folder = load_model(tmp_path / "run" / "quantize" / "model")
    expected = answer_manifest(folder.model.float(), split, folder.processor, 3)
    for utterance in iterate_utterances(split):
        write_audio(tmp_path / "wavs" / f"{utterance.id}.wav", utterance.samples)
    onnx = tmp_path / "model.onnx"
    assert bigfoot("export", tmp_path / "run" / "quantize" / "model", onnx, "--to", "onnx")[0] == 0
    code, output, errors = bigfoot("classify", onnx, tmp_path / "wavs", "--json")
    assert code == 0, errors
    found = {Path(line["name"]).stem: line["labels"] for line in map(json.loads, output.splitlines())}
    assert found == dict(zip(expected.ids, choose_labels(expected.scores, expected.facts), strict=True))


@pytest.mark.slow
@pytest.mark.usefixtures("quick_report")
def test_numbers_and_several_labels(small_config, tmp_path):
    small = ("train_task.max_steps=1", "train_task.freeze=[encoder]", "data.num_train=12")
    for kind, changes in (
        ("multi_label", ["train_task.column=traits"]),
        ("ordinal", ["train_task.column=sex", "train_task.labels=[male,female]"]),
    ):
        config = small_config(tmp_path / kind, *TASK, f"train_task.kind={kind}", *changes, *small)
        run_pipeline(config)
        row = load_report(tmp_path / kind / "report").rows[-1]
        assert row.metric in row.metrics and np.isfinite(row.score)


@pytest.mark.slow
def test_balanced_sampling_and_mixup_resume_to_the_same_bits(small_config, tmp_path, monkeypatch):
    from bigfoot.training.loop import Trainer

    settings = ("train_task.sampling=balanced", "train_task.mixup=0.4", "train_task.freeze=[encoder]",
                "train_task.schedule=plateau", "train_task.plateau_patience=1")  # fmt: skip
    whole, stopped = (small_config(tmp_path / name, *TASK, *settings) for name in ("whole", "stopped"))
    run_pipeline(whole, until="train_task")
    after_step = Trainer._after_step

    def stop(self, *arguments):
        after_step(self, *arguments)
        if self.progress.step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_after_step", stop)
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(stopped, until="train_task")
    monkeypatch.setattr(Trainer, "_after_step", after_step)
    run_pipeline(stopped, until="train_task")
    ours, theirs = (load_model(tmp_path / name / "train_task" / "model").model.task_head.state_dict()
                    for name in ("stopped", "whole"))  # fmt: skip
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert (tmp_path / "whole" / "train_task" / "balanced_train.jsonl.gz").is_file()


@pytest.mark.slow
def test_problems_are_found_before_anything_is_done(small_config, tmp_path):
    for changes, key in (
        (["train_task.column=age"], "train_task.column"),
        (["train_task.kind=regression", "train_task.labels=[age]"], "train_task.labels"),
        (["steps=[student,distill]", "distill.losses.task_kl.weight=1"], "distill.losses.task_kl"),
    ):
        plan = resolve_plan(small_config(tmp_path / "run", *TASK, *changes))
        assert key in [problem.key for problem in find_problems(plan)]


@pytest.mark.slow
def test_patience(small_config, tmp_path):
    """A rate of nearly nothing never improves: training stops after two more evaluations, and a second start too."""
    changes = ["train_task.max_steps=20", "train_task.patience=2", "train_task.learning_rate=1e-12",
               "train_task.freeze=[encoder]", "train_task.floors=false"]  # fmt: skip
    config = small_config(tmp_path / "run", *TASK, *changes)
    run_pipeline(config, until="train_task")
    facts = json.loads((tmp_path / "run" / "train_task" / "facts.json").read_text())
    assert [record["since_best"] for record in facts["records"] if "since_best" in record] == [0, 1, 2]
    assert facts["records"][-1]["step"] == 6
    run_pipeline(config, until="train_task")
    assert json.loads((tmp_path / "run" / "train_task" / "facts.json").read_text()) == facts
