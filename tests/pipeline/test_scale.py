"""Every method's shape on the tiny teacher."""

import pytest

from bigfoot.config import CONFIG_FOLDER
from bigfoot.formats.folder import load_model, save_model
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.pipeline.preset import summarize_preset
from bigfoot.pipeline.scale import apply_scale
from bigfoot.pipeline.settings import load_config
from tests.codes import codes, refusing
from tests.pipeline.problems import problems_of

METHODS = sorted(path.stem for path in (CONFIG_FOLDER / "methods").glob("*.yaml"))
DIGITS = ("scale=tiny", "data.corpus=synthetic_digits", "data.train_splits=[]", "data.dev_splits=[]",
          "data.test_splits=[]")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_student_of_the_tiny_teacher(name):
    config = apply_scale(load_config(f"methods/{name}.yaml", DIGITS))
    assert problems_of(DIGITS, f"methods/{name}.yaml") == []
    assert config.teacher.path == "tiny_teacher" and apply_scale(config) is config
    small, whole = (summarize_preset(f"methods/{name}.yaml", each) for each in (DIGITS[:1], ()))
    teachers = 2_523_744, 94_371_712
    shares = [each.deployed_parts["layers"] / of for each, of in zip((small, whole), teachers, strict=True)]
    assert shares[0] == pytest.approx(shares[1], rel=0.3)
    assert len(small.student.layers) - len(whole.student.layers) in (0, 1)


def test_widths_are_rounded_to_what_divides_them():
    shape = apply_scale(load_config("methods/armhubert_s.yaml", ["scale=tiny"])).student.shape
    assert shape["hidden_size"] == 64 and shape["intermediate_size"] == 136
    assert shape["conv_dim"] == [16, 32, 32, 32, 32, 32, 64, 64, 64]
    assert shape["attention_reuse"] == [None, 0, None, 2, None, 4, None, 6, None, 8, None, 10]
    assert apply_scale(load_config("methods/lowrank.yaml", ["scale=tiny"])).student.low_rank.rank == 32


def test_another_small_teacher_takes_its_place(tmp_path):
    """The student's widths keep their share: 480 of 768 is 40 of 64, of multiples of 16 the nearest even one."""
    shape = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 2, "conv_dim": [32] * 7}
    folder = tmp_path / "small"
    save_model(BigfootForCTC(BigfootConfig(**shape)), load_model("tiny_teacher").processor, folder)
    given = ["scale=tiny", f"scale_to={folder}"]
    config = apply_scale(load_config("methods/maskhubert.yaml", given))
    assert config.teacher.path == str(folder) and apply_scale(config) is config
    assert config.student.shape["hidden_size"] == 32 and config.student.shape["conv_dim"][:2] == [8, 16]
    with refusing(("scale_to", "not_read")):
        load_config("methods/maskhubert.yaml", given[1:])


def test_full_scale_changes_nothing():
    config = load_config("methods/armhubert.yaml")
    assert apply_scale(config) is config


@pytest.mark.parametrize("wrong", ["hidden_size=wide", "num_attention_heads=0", "conv_dim=8", "hiden_size=480"])
def test_wrong_values_are_named_by_the_checks(wrong):
    found = problems_of([*DIGITS, f"student.shape.{wrong}"], "methods/armhubert.yaml")
    expected = "unknown_field" if wrong.startswith("hiden") else "bad_shape"
    assert ("student.shape", expected) in codes(found)
