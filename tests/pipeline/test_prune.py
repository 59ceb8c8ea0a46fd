"""Pruning as a step: where it stands among the others, how often, what the report says, and what is refused."""

import json

import pytest

from bigfoot.formats.folder import load_model
from bigfoot.pipeline import run_pipeline
from bigfoot.pipeline.checks import find_problems
from bigfoot.pipeline.settings import read_config

QUICK = ("distill.max_steps=2", "distill.losses.hidden.weight=1", "evaluate.speed_rounds=1", "prune.multiple_of=2")


@pytest.mark.slow
@pytest.mark.usefixtures("quick_memory")
def test_pruned_and_distilled_in_turns_with_a_control(small_config, tmp_path):
    settings = ("steps=[prune,distill,prune,distill]", "control=ctc_only", "prune.parts=[heads,feed_forward,conv]")
    config = small_config(tmp_path / "run", *QUICK, *settings, "prune.target=macs", "prune.keep=0.8")
    run_pipeline(config)
    report = json.loads((tmp_path / "run" / "report" / "report.json").read_text())
    rows = {row["name"]: row for row in report["rows"]}
    control = ["ctc_only_distil", "ctc_only_prune_2", "ctc_only_distil_2"]
    assert list(rows) == ["teacher", "prune", "distil", "prune_2", "distil_2", *control]
    macs = [rows[name]["macs_per_second"] for name in ("teacher", "prune", "prune_2")]
    assert 0.7 * macs[0] < macs[1] <= 0.8 * macs[0] and 0.7 * macs[1] < macs[2] <= 0.8 * macs[1]
    assert rows["distil_2"]["macs_per_second"] == macs[2] and rows["prune_2"]["batch_invariant"]
    assert rows["prune_2"]["protocol"] == "pruned, not trained since, CTC, no language model"
    assert rows["distil_2"]["protocol"].startswith("distilled")
    assert any("of its macs (80.0% asked for)" in change for change in report["changes"])
    loaded = load_model(tmp_path / "run" / "distill_2" / "model")
    assert [entry["step"] for entry in loaded.history] == ["prune", "distill", "prune_2", "distill_2"]


@pytest.mark.usefixtures("quick_memory")
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


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["prune.parts=[head]"], "prune.parts: unknown part 'head'; parts are heads, feed_forward, conv, width"),
        (["prune.parts=[]"], "prune.parts: empty"),
        (["prune.part_ratios={heads: 2}"], "prune.part_ratios: heads must be from 0 to 1, got 2"),
        (["prune.part_ratios.tails=0.5"], "prune.part_ratios: unknown part 'tails'"),
        (["prune.part_ratios.heads=0.5", "prune.scope=global"], "prune.part_ratios: with scope global"),
        (["prune.importance=tailor"], "prune.importance: 'tailor' is not one of taylor"),
        (["prune.target=macs", "prune.keep=0"], "prune.keep: must be above 0 with target macs"),
        (["prune.ratio=1.5"], "prune.ratio: must be from 0 to 1"),
    ],
)  # fmt: skip
def test_wrong_values(overrides, words):
    assert any(words in str(problem) for problem in read_config(None, overrides)[1])


def test_what_only_the_teacher_can_tell(small_config, other_teachers, tmp_path):
    steps, hints = "steps=[prune,distill]", ["distill.losses.logit_kl.weight=0", "distill.losses.hidden.weight=1"]
    for name, missing in (("headless", "no CTC head"), ("mute", "no vocabulary")):
        settings = [steps, *hints, f"teacher.path={other_teachers[name]}"]
        (problem,) = find_problems(small_config(tmp_path, *settings))
        assert problem.startswith("prune.importance: taylor asks the CTC loss") and missing in problem
        assert not list(find_problems(small_config(tmp_path, *settings, "prune.importance=l1")))
    twice = "steps=[student,distill,prune,distill]"
    (problem,) = find_problems(small_config(tmp_path, twice, "distill.grow_groups=[1,3]"))
    assert problem.startswith("distill.grow_groups: groups grow once")


def test_wavlm_keeps_its_width(small_config, build_huggingface, processor, tmp_path):
    from tests.conftest import make_teacher

    teacher = make_teacher(tmp_path / "wavlm", build_huggingface, processor, "wavlm")
    settings = ("steps=[prune]", "prune.parts=[width]", f"teacher.path={teacher}")
    (problem,) = find_problems(small_config(tmp_path / "run", *settings))
    assert problem.startswith("prune.parts: width cannot be cut")


@pytest.mark.slow
@pytest.mark.usefixtures("quick_memory")
def test_labels_are_the_teachers_where_there_are_none(small_config, tmp_path):
    """Taylor's importance hears the teacher's own transcripts, though nothing else learns from any."""
    run_pipeline(small_config(tmp_path, *QUICK, "steps=[prune,distill]", "data.transcripts=none"), until="prune")
    assert (tmp_path / "data" / "labelled" / "labels.json").exists()
    assert load_model(tmp_path / "prune" / "model").history[-1]["changes"][0].startswith("prune: kept ")


@pytest.mark.slow
@pytest.mark.usefixtures("quick_memory")
def test_gates_then_distillation(small_config, tmp_path):
    """DPHuBERT's two steps: what gates shut is cut, and what is left is distilled again."""
    gates = ("max_steps=16", "warmup_steps=1", "gate_learning_rate=1.0", "sparsity=0.4", "sparsity_warmup_steps=2",
             "schedule=constant", "max_grad_norm=100", "losses.hidden.weight=1", "eval_every=16")  # fmt: skip
    settings = ("steps=[gates,distill]", *(f"gates.{each}" for each in gates))
    run_pipeline(small_config(tmp_path, *QUICK, *settings))
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    teacher, gated, distilled = report["rows"]
    assert [row["name"] for row in report["rows"]] == ["teacher", "gates", "distil"]
    assert gated["num_params"] == distilled["num_params"] < teacher["num_params"]
    (said,) = [change for change in report["changes"] if change.startswith("gates: kept")]
    assert f"kept {gated['num_params']:,} of {teacher['num_params']:,} parameters" in said and "40.0% asked for" in said
    assert said in load_model(tmp_path / "gates" / "model").history[-1]["changes"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("gates.parts=[width]", "gates.parts: unknown part 'width'; parts are heads, feed_forward, conv"),
        ("gates.parts=[]", "gates.parts: empty"),
        ("gates.learning_rate_factors={head: 1}", "gates.learning_rate_factors: unknown part 'head'"),
    ],
)
def test_wrong_values_of_gates(override, words):
    assert any(words in str(problem) for problem in read_config(None, [override])[1])


def test_what_gates_cannot_do_is_said(small_config, other_teachers, tmp_path):
    teacher = f"teacher.path={other_teachers['headless']}"
    problems = list(find_problems(small_config(tmp_path, "steps=[gates]", teacher)))
    assert len(problems) == 2 and all(problem.startswith("gates.losses.logit_kl: the ") for problem in problems)
    late = ("steps=[finetune,gates]", "finetune.head=new")
    (problem,) = find_problems(small_config(tmp_path, *late))
    assert problem.startswith("gates.losses.logit_kl: finetune.head=new comes before gates")
