"""The whole job from a teacher of every family."""

import json

import pytest

from bigfoot.models.folder import load_model
from bigfoot.pipeline import run_pipeline
from tests.conftest import FAMILY_STRUCTURES, make_teacher

# In one run losses that look into every part, in another a teacher that has no head.
HEADLESS = ["distill.losses.logit_kl.weight=0", "distill.losses.hidden.weight=1", "finetune.head=new"]
SETTINGS = ["distill.losses.hidden.weight=1", "distill.losses.attention.weight=1"]


@pytest.mark.slow
@pytest.mark.usefixtures("quick_memory")
@pytest.mark.parametrize("structure", FAMILY_STRUCTURES)
def test_from_teacher_to_report(structure, build_huggingface, processor, small_config, tmp_path):
    headless = structure == "hubert-batch-norm"
    kind = {"cls": "AutoModel"} if headless else {}
    teacher = make_teacher(tmp_path / "teacher", build_huggingface, processor, structure, **kind)
    settings = HEADLESS if headless else SETTINGS
    steps = ("distill.max_steps=3", "distill.checkpoint_every=3", "finetune.max_steps=2", "evaluate.speed_rounds=1")
    layers = "student.layer_init=[2,3]"
    run = tmp_path / "run"
    run_pipeline(small_config(run, f"teacher.path={teacher}", layers, *steps, *settings))
    report = json.loads((run / "report" / "report.json").read_text())
    rows = {row["name"]: row for row in report["rows"]}
    assert {name for name, row in rows.items() if row["batch_invariant"]} == ({"finetune"} if headless else set(rows))
    assert all(sum(row["macs_by_part"].values()) == row["macs_per_second"] for row in rows.values())
    model = load_model(run / "finetune" / "model").model
    assert model.config.family == FAMILY_STRUCTURES[structure]["family"]
    assert model.config.groups_of_convs == [1] + [2] * 6
