"""The whole job from a teacher of every family."""

import json

import pytest

from bigfoot.formats.folder import load_model
from bigfoot.pipeline import run_pipeline
from tests.conftest import FAMILY_STRUCTURES, make_teacher
from tests.pipeline.test_teacher_language import make_mms

BANKS = ["distill.losses.hidden.weight=1", "student.change_conv_layers=false"]
LANGUAGE = ["distill.losses.hidden.weight=1", "teacher.language=eng"]
SETTINGS = ["distill.losses.hidden.weight=1", "distill.losses.attention.weight=1"]


# One of each family, HuBERT without a head in test_run; what norms change stands in the tests of models, compress,
# formats and export.
@pytest.mark.slow
@pytest.mark.usefixtures("quick_report")
@pytest.mark.parametrize("structure", ["hubert-without-norm", "wavlm-large", "data2vec", "w2v-bert", "mms"])
def test_from_teacher_to_report(structure, build_huggingface, processor, small_config, tmp_path):
    settings = BANKS if structure == "w2v-bert" else SETTINGS
    if structure == "mms":
        teacher, settings = make_mms(tmp_path / "teacher", build_huggingface, processor), LANGUAGE
    else:
        teacher = make_teacher(tmp_path / "teacher", build_huggingface, processor, structure)
    steps = ("distill.max_steps=3", "distill.checkpoint_every=3", "finetune.max_steps=2", "evaluate.speed_rounds=1")
    layers = "student.layer_init=[2,3]"
    run = tmp_path / "run"
    run_pipeline(small_config(run, f"teacher.path={teacher}", layers, *steps, *settings))
    report = json.loads((run / "report" / "report.json").read_text())
    rows = {row["name"]: row for row in report["rows"]}
    assert all(row["batch_invariant"] for row in rows.values())
    assert all(sum(row["macs_by_part"].values()) == row["macs_per_second"] for row in rows.values())
    model = load_model(run / "finetune" / "model").model
    assert model.config.family == FAMILY_STRUCTURES[structure].get("family", "wav2vec2")
    assert model.config.adapter_attn_dim == FAMILY_STRUCTURES[structure].get("adapter_attn_dim")
    assert model.config.groups_of_convs == ([1] + [2] * 6 if model.config.has_convolutions else [])


@pytest.mark.slow
@pytest.mark.usefixtures("quick_report")
def test_a_student_of_another_family_and_width(build_huggingface, processor, small_config, tmp_path):
    """Cut out of a model that is not the teacher, and taught by the teacher all the same."""
    teacher = make_teacher(tmp_path / "teacher", build_huggingface, processor, "wavlm")
    source = make_teacher(tmp_path / "source", build_huggingface, processor, "base", hidden_size=48)
    settings = [f"teacher.path={teacher}", f"student.path={source}", "student.layer_init=[2,3]", *SETTINGS[:1]]
    steps = ("distill.max_steps=3", "distill.checkpoint_every=3", "finetune.max_steps=2", "evaluate.speed_rounds=1")
    run = tmp_path / "run"
    run_pipeline(small_config(run, *settings, *steps))
    begun, ended = (load_model(run / name / "model").model for name in ("student", "finetune"))
    assert (ended.config.family, ended.config.hidden_size) == ("wav2vec2", 48)
    last = [model.speech_encoder.encoder.layers[-1] for model in (load_model(source).model, begun)]
    assert last[0].final_layer_norm.weight.equal(last[1].final_layer_norm.weight)
    assert last[0].feed_forward.output_dense.weight.equal(last[1].feed_forward.output_dense.weight)
