"""Students of another shape and with linear maps of low rank, through the whole pipeline."""

import pytest

from bigfoot.errors import ConfigError
from bigfoot.formats.folder import load_model
from bigfoot.pipeline import run_pipeline
from bigfoot.pipeline.facts import SKIPPED
from bigfoot.pipeline.settings import load_config
from tests.codes import codes
from tests.pipeline.problems import problems_of
from tests.refusals import names

THIN = (
    "student.change_conv_layers=false", "student.shape.hidden_size=16", "student.shape.num_attention_heads=2",
    "student.shape.conv_dim=[4,8,8,8,8,8,8,16,16]", "student.shape.conv_kernel=[10,1,3,3,3,3,1,2,2]",
    "student.shape.conv_stride=[5,1,2,2,2,2,1,2,2]", "student.shape.feature_projection=none",
    "student.shape.attention_reuse=[null,0]", "student.shape.time_reduction=2",
    "distill.losses.hidden.weight=1", "distill.losses.conv_features.weight=0.1", "distill.losses.ctc.weight=0.1",
)  # fmt: skip
LOW_RANK = ("student.low_rank.linears=[v_proj,intermediate_dense]", "student.low_rank.rank=5")


@pytest.mark.slow
def test_a_thin_student_is_made_distilled_and_fine_tuned(small_config, quick_report, tmp_path, capsys):
    config = small_config(tmp_path / "run", *THIN, *LOW_RANK)
    report = run_pipeline(config)
    assert [row.step for row in report.rows] == ["teacher", "student_init", "distill", "finetune"]
    assert all(row.batch_invariant and row.wer is not None for row in report.rows)
    loaded = load_model(tmp_path / "run" / "finetune" / "model")
    shape = loaded.model.config
    assert (shape.hidden_size, shape.reused_maps, shape.time_reduction) == (16, [None, 0], 2)
    assert shape.layer_ranks == [{"v_proj": 5, "intermediate_dense": 5}] * 2
    changes = " ".join(loaded.history[0]["changes"])
    assert names(changes, "time_reduction.conv", "rank 5 to 5", "v_proj", "2 layers")
    capsys.readouterr()
    run_pipeline(config, until="student")
    assert f"student: {SKIPPED}" in capsys.readouterr().out
    config.seed += 1
    run_pipeline(config, until="student")
    assert f"student: {SKIPPED}" not in capsys.readouterr().out


ATTENTION = "distill.losses.attention.weight=1"
WRONG = [
    (["student.shape.hiden_size=8"], ("student.shape", "unknown_field")),
    (["student.shape.hidden_size=25"], ("student.shape", "bad_shape")),
    (["student.shape.attention_reuse=[null]"], ("student.shape", "bad_shape")),
    (["student.low_rank.linears=[p_proj]"], ("student.low_rank.linears", "unknown_word")),
    (["student.low_rank.linears=[q_proj]", "student.low_rank.rank=25"], ("student.low_rank.rank", "bad_rank")),
    (["student.shape.time_reduction=2", ATTENTION], ("distill.losses.attention", "other_frames")),
    (["student.shape.layer_num_attention_heads=[0,3]", ATTENTION], ("distill.losses.attention", "no_attention")),
    (["student.shape.conv_stride=[5,2,2,2,2,2,1]", ATTENTION], ("distill.losses.attention", "other_frames")),
]


@pytest.mark.parametrize(("settings", "expected"), WRONG)
def test_what_cannot_be_is_found_before_anything_is_done(settings, expected, small_run, tmp_path):
    assert codes(problems_of(small_run(tmp_path, *settings))) == [expected]


def test_several_wrong_things_are_found_together(small_run, tmp_path):
    wrong = ("student.num_hidden_layers=40", "student.conv_sharing=[[1,9]]", "student.low_rank.linears=[p]")
    keys = {problem.key for problem in problems_of(small_run(tmp_path, *wrong))}
    assert keys == {"student.num_hidden_layers", "student.conv_sharing", "student.low_rank.linears"}


def test_a_shape_is_a_mapping_and_overrides_add_to_it(tmp_path):
    file = tmp_path / "thin.yaml"
    file.write_text("student:\n  shape:\n    hidden_size: 480\n    attention_reuse: [null, 0]\n")
    config = load_config(file, ["student.shape.intermediate_size=8"])
    assert config.student.shape == {"hidden_size": 480, "attention_reuse": [None, 0], "intermediate_size": 8}
    with pytest.raises(ConfigError) as caught:
        load_config(None, ["student.shape=thin"])
    assert codes(caught.value.problems) == [("student.shape", "wrong_type")]
