import ast
from pathlib import Path

import pytest

import bigfoot.config.schema
from bigfoot.config import Config, find_config, load_config, read_config, save_config, to_dict
from bigfoot.errors import ConfigError

WRONG = {
    "student.conv_gruops=4": "student.conv_gruops: unknown key; did you mean student.conv_groups?",
    "distil.max_steps=4": "distil.max_steps: unknown key; did you mean distill.max_steps?",
    "finetune.losses.ctc.weight=1": "did you mean gates.losses.ctc.weight?",
    "seed=many": "seed: expected int, got 'many' (str)",
    "distill.learning_rate=fast": "distill.learning_rate: expected float, got 'fast' (str)",
    "data.augment.speed=[slow,fast]": "data.augment.speed: expected list[float], got ['slow', 'fast']",
    "student=3": "student: a section, set what is in it: student.path, student.num_hidden_layers",
    "control=ctc_ony": "control: 'ctc_ony' is not one of ctc_only; did you mean ctc_only?",
    "precision=bf17": "precision: 'bf17' is not one of auto, no, bf16, fp16; did you mean bf16?",
    "finetune.head=newer": "finetune.head: 'newer' is not one of teacher, new, respelled; did you mean new?",
    "distill.schedule=cosin": "distill.schedule: 'cosin' is not one of linear, cosine, constant",
    "distill.losses.hidden.distance=l2": "distill.losses.hidden.distance: 'l2' is not one of mse, l1, cosine",
    "data.corpus=libri": "data.corpus: 'libri' is not one of",
    "data.on_bad_audio=ignore": "data.on_bad_audio: 'ignore' is not one of skip, raise",
    "data.batch_seconds=0": "data.batch_seconds: must be above 0, got 0",
    "distill.max_steps=0": "distill.max_steps: must be above 0, got 0",
    "finetune.learning_rate=-1e-4": "finetune.learning_rate: must be above 0, got -0.0001",
    "distill.learning_rate=.nan": "distill.learning_rate: must be above 0, got nan",
    "distill.losses.logit_kl.temperature=0": "distill.losses.logit_kl.temperature: must be above 0, got 0",
    "distill.losses.ctc.weight=-1": "distill.losses.ctc.weight: must not be below 0, got -1",
    "data.num_workers=-1": "data.num_workers: must not be below 0, got -1",
    "distill.spec_augment.mask_time_prob=5": "distill.spec_augment.mask_time_prob: must be from 0 to 1, got 5",
    "threads=0": "threads: must be above 0, got 0",
    "trackers=[tensorbord]": "trackers: unknown tracker 'tensorbord'",
    "steps=[student,destill]": "steps: unknown step 'destill'; steps are student, prune, gates, distill, finetune",
    "evaluate.splits=[train]": "evaluate.splits: unknown split 'train'",
    "data.min_digits=9": "data.max_digits: below data.min_digits",
    "data.augment.gain_db=[3,-3]": "data.augment.gain_db: expected [lowest, highest], got [3.0, -3.0]",
    "distill.learning_rate_factors.encodr=2": "distill.learning_rate_factors: unknown part 'encodr'; parts are",
    "finetune.adam_betas=[0.9]": "finetune.adam_betas: expected two numbers, got [0.9]",
    "run_dir=${nowhere}": "run_dir: ",
    "seed": "seed: an override is written key=value",
    "seed=[1,": "seed: cannot be read",
}


@pytest.mark.parametrize("override", WRONG)
def test_what_is_wrong_is_named(override):
    _, problems = read_config(None, [override])
    assert len(problems) == 1 and WRONG[override] in problems[0], problems


def test_all_that_is_wrong_is_collected():
    with pytest.raises(ConfigError) as caught:
        load_config(None, list(WRONG))
    assert len(caught.value.problems) >= len(WRONG) - 1
    assert str(caught.value).startswith(f"{len(caught.value.problems)} problems in the configuration:\n  - ")


@pytest.mark.parametrize("written", ["1e-4", "1E-4", "1.0e-4", "0.0001", ".0001"])
def test_a_small_number_is_a_float_in_yaml_and_on_the_command_line(written, tmp_path):
    (tmp_path / "c.yaml").write_text(f"distill: {{learning_rate: {written}}}\nfinetune:\n  learning_rate: {written}\n")
    config = load_config(tmp_path / "c.yaml", [f"distill.losses.ctc.weight={written}"])
    found = (config.distill.learning_rate, config.finetune.learning_rate, config.distill.losses.ctc.weight)
    assert found == (1e-4, 1e-4, 1e-4)


def test_an_integer_is_a_float_but_a_fraction_is_no_integer():
    config, problems = read_config(None, ["distill.learning_rate=1", "seed=1.5"])
    assert config.distill.learning_rate == 1.0
    assert problems == ["seed: expected int, got 1.5 (float)"]


def test_a_file_is_overridden_key_by_key(tmp_path):
    student = "student:\n  num_hidden_layers: 5\n  layer_init: [0, 1, 2, 3, 4]\n"
    (tmp_path / "c.yaml").write_text(f"seed: 3\n{student}data:\n")
    config = load_config(tmp_path / "c.yaml", ["student.conv_groups=[1,2,4]", "run_dir=a=b", "control=null"])
    assert (config.seed, config.student.num_hidden_layers, config.run_dir) == (3, 5, "a=b")
    assert (config.student.layer_init, config.student.conv_groups) == ([0, 1, 2, 3, 4], [1, 2, 4])
    assert config.data == Config().data


def test_two_rates_of_parts_are_both_meant(tmp_path):
    (tmp_path / "c.yaml").write_text("distill:\n  learning_rate_factors: {encoder: 0.5, lm_head: 3}\n")
    overrides = [f"distill.learning_rate_factors.{part}" for part in ("encoder=0.1", "feature_encoder=0.2")]
    config = load_config(tmp_path / "c.yaml", overrides)
    assert config.distill.learning_rate_factors == {"encoder": 0.1, "lm_head": 3.0, "feature_encoder": 0.2}
    assert config.finetune.learning_rate_factors == {}


def test_matches_stay_a_list_of_pairs():
    config = load_config(None, ["distill.losses.hidden.matches=[[1,3],[2,6]]"])
    assert config.distill.losses.hidden.matches == [[1, 3], [2, 6]]


def test_a_missing_file_lists_what_there_is():
    with pytest.raises(ConfigError, match=r"no file demo\.yaml.*demo_config\.yaml"):
        find_config("demo.yaml")


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", "a: 1\n\tb: 2\n"])
def test_a_file_that_is_no_configuration(text, tmp_path):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml: (not YAML|expected keys)"):
        read_config(tmp_path / "c.yaml")


def test_saved_with_every_key_and_read_back(tmp_path):
    overrides = ["student.layer_init=[0,3,7,11]", "distill.learning_rate_factors.encoder=2"]
    config = load_config("demo_config.yaml", overrides)
    save_config(config, tmp_path / "deep" / "c.yaml")
    assert to_dict(load_config(tmp_path / "deep" / "c.yaml")) == to_dict(config)


def test_defaults_are_right():
    assert load_config(None) == Config()


def test_every_field_has_a_sentence():
    tree = ast.parse(Path(bigfoot.config.schema.__file__).read_text(encoding="utf-8"))
    missing, fields = [], 0
    for section in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for node, after in zip(section.body, [*section.body[1:], None], strict=True):
            if isinstance(node, ast.AnnAssign):
                fields += 1
                said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and str(after.value.value)
                if not (said and said.rstrip().endswith(".") and len(said) > 10):
                    missing.append(f"{section.name}.{node.target.id}")
    assert fields > 60 and missing == []
