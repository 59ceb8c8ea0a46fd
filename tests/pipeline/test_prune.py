"""Pruning as a step: where it stands among the others, how often, what the report says, and what is refused."""

import json

import pytest

from bigfoot.formats.folder import load_model
from bigfoot.pipeline import run_pipeline
from bigfoot.pipeline.settings import read_config
from tests.codes import codes
from tests.pipeline.problems import problems_of
from tests.refusals import names

QUICK = ("distill.max_steps=2", "distill.losses.hidden.weight=1", "evaluate.speed_rounds=1", "prune.multiple_of=2")


@pytest.mark.slow
@pytest.mark.usefixtures("quick_report")
def test_pruned_and_distilled_in_turns_with_a_control(small_config, tmp_path):
    settings = ("steps=[prune,distill,prune,distill]", "control=ctc_only", "prune.parts=[heads,feed_forward,conv]")
    config = small_config(tmp_path / "run", *QUICK, *settings, "prune.target=macs", "prune.keep=0.8")
    run_pipeline(config)
    report = json.loads((tmp_path / "run" / "report" / "report.json").read_text())
    rows = {row["name"]: row for row in report["rows"]}
    control = ["ctc_only_distill", "ctc_only_prune_2", "ctc_only_distill_2"]
    assert list(rows) == ["teacher", "prune", "distill", "prune_2", "distill_2", *control]
    macs = [rows[name]["macs_per_second"] for name in ("teacher", "prune", "prune_2")]
    assert 0.7 * macs[0] < macs[1] <= 0.8 * macs[0] and 0.7 * macs[1] < macs[2] <= 0.8 * macs[1]
    assert rows["distill_2"]["macs_per_second"] == macs[2] and rows["prune_2"]["batch_invariant"]
    assert rows["prune_2"]["protocol"].startswith("pruned, not trained")
    assert rows["distill_2"]["protocol"].startswith("distilled")
    assert any(names(change, "macs", "80.0%") for change in report["changes"])
    loaded = load_model(tmp_path / "run" / "distill_2" / "model")
    assert [entry["step"] for entry in loaded.history] == ["prune", "distill", "prune_2", "distill_2"]


@pytest.mark.slow
@pytest.mark.usefixtures("quick_report")
def test_nothing_is_done_again_but_what_changed(small_config, tmp_path):
    folder, settings = tmp_path / "run", ("steps=[student,prune]", "prune.importance=l2", "prune.ratio=0.5")
    run_pipeline(small_config(folder, *QUICK, *settings), until="prune")
    student, pruned = (folder / name / "model" / "model.safetensors" for name in ("student", "prune"))
    before = student.stat().st_mtime_ns, pruned.stat().st_mtime_ns
    heads = [load_model(file.parent).model.config.heads_of_layers for file in (student, pruned)]
    assert sum(heads[1]) < sum(heads[0])
    run_pipeline(small_config(folder, *QUICK, *settings), until="prune")
    assert (student.stat().st_mtime_ns, pruned.stat().st_mtime_ns) == before
    run_pipeline(small_config(folder, *QUICK, *settings, "prune.scope=layer"), until="prune")
    assert student.stat().st_mtime_ns == before[0] and pruned.stat().st_mtime_ns != before[1]


WRONG = [
    (["prune.parts=[head]"], ("prune.parts", "unknown_word")),
    (["prune.parts=[]"], ("prune.parts", "empty")),
    (["prune.part_ratios={heads: 2}"], ("prune.part_ratios", "out_of_range")),
    (["prune.part_ratios.tails=0.5"], ("prune.part_ratios", "unknown_word")),
    (["prune.part_ratios.heads=0.5", "prune.scope=global"], ("prune.part_ratios", "not_read")),
    (["prune.importance=tailor"], ("prune.importance", "unknown_word")),
    (["prune.target=macs", "prune.keep=0"], ("prune.keep", "out_of_range")),
    (["prune.ratio=1.5"], ("prune.ratio", "out_of_range")),
    (["gates.parts=[width]"], ("gates.parts", "unknown_word")),
    (["gates.parts=[]"], ("gates.parts", "empty")),
    (["gates.learning_rate_factors={head: 1}"], ("gates.learning_rate_factors", "unknown_word")),
]


@pytest.mark.parametrize(("overrides", "expected"), WRONG)
def test_wrong_values(overrides, expected):
    assert codes(read_config(None, overrides)[1]) == [expected]


@pytest.mark.slow
def test_what_only_the_teacher_shows(small_run, other_teachers, tmp_path):
    steps, hints = "steps=[prune,distill]", ["distill.losses.logit_kl.weight=0", "distill.losses.hidden.weight=1"]
    for name in ("headless", "mute"):
        settings = [steps, *hints, f"teacher.path={other_teachers[name]}"]
        assert codes(problems_of(small_run(tmp_path, *settings))) == [("prune.importance", "no_labels")]
        assert problems_of(small_run(tmp_path, *settings, "prune.importance=l1")) == []


def test_wavlm_keeps_its_width(small_run, build_huggingface, processor, tmp_path):
    from tests.conftest import make_teacher

    teacher = make_teacher(tmp_path / "wavlm", build_huggingface, processor, "wavlm")
    settings = ("steps=[prune]", "prune.parts=[width]", f"teacher.path={teacher}")
    assert codes(problems_of(small_run(tmp_path / "run", *settings))) == [("prune.parts", "not_prunable")]


@pytest.mark.slow
@pytest.mark.usefixtures("quick_report")
def test_labels_are_the_teachers_where_there_are_none(small_config, tmp_path):
    """Taylor's importance takes the teacher's own transcripts, though nothing else learns from any."""
    run_pipeline(small_config(tmp_path, *QUICK, "steps=[prune,distill]", "data.transcripts=none"), until="prune")
    assert (tmp_path / "data" / "labelled" / "labels.json").exists()
    assert load_model(tmp_path / "prune" / "model").history[-1]["changes"][0].startswith("prune: kept ")


@pytest.mark.slow
@pytest.mark.usefixtures("quick_report")
def test_gates_then_distillation(small_config, tmp_path):
    """DPHuBERT's two steps: what gates shut is cut, and what is left is distilled again."""
    gates = ("max_steps=16", "warmup_steps=1", "gate_learning_rate=1.0", "sparsity=0.4", "sparsity_warmup_steps=2",
             "schedule=constant", "max_grad_norm=100", "losses.hidden.weight=1", "eval_every=16")  # fmt: skip
    settings = ("steps=[gates,distill]", *(f"gates.{each}" for each in gates))
    run_pipeline(small_config(tmp_path, *QUICK, *settings))
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    teacher, gated, distilled = report["rows"]
    assert [row["name"] for row in report["rows"]] == ["teacher", "gates", "distill"]
    assert gated["num_params"] == distilled["num_params"] < teacher["num_params"]
    (line,) = [change for change in report["changes"] if change.startswith("gates: kept")]
    assert f"kept {gated['num_params']:,} of {teacher['num_params']:,} parameters" in line and names(line, "40.0%")
    assert line in load_model(tmp_path / "gates" / "model").history[-1]["changes"]


@pytest.mark.slow
def test_what_gates_cannot_do_is_found(small_run, other_teachers, tmp_path):
    teacher = f"teacher.path={other_teachers['headless']}"
    found = problems_of(small_run(tmp_path, "steps=[gates]", teacher))
    assert len(found) == 2 and {problem.key for problem in found} == {"gates.losses.logit_kl"}
    late = ("steps=[finetune,gates]", "finetune.head=new")
    assert codes(problems_of(small_run(tmp_path, *late))) == [("gates.losses.logit_kl", "other_vocabulary")]
