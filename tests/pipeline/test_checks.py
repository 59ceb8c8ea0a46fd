from dataclasses import replace

import pytest

from bigfoot.distill.registry import without_teacher
from bigfoot.errors import ConfigError
from bigfoot.pipeline import run_pipeline
from bigfoot.pipeline.checks import find_problems
from bigfoot.pipeline.settings import load_config
from bigfoot.text.tokenizers import CharTokenizer, save_processor
from tests.conftest import VOCABULARY, make_teacher


def test_everything_wrong_is_said_at_once_by_the_command(start, narrow_teacher, tmp_path):
    """One of each kind: key, type, word, layer, groups, root."""
    wrong = [
        "student.conv_gruops=2", "seed=many", "distill.schedule=linar", "student.layer_init=[0,9,2,3]",
        "student.conv_groups=5", "data.corpus=librispeech", f"data.root={tmp_path / 'nowhere'}",
        "distill.losses.logit_kl.weight=0", f"teacher.path={narrow_teacher}", f"run_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    done = start("recipes/compress.py", "--config", "demo_config.yaml", *wrong, "distill.losses.hidden.weight=0")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: 7 problems in the configuration:")
    for words in (
        "student.conv_gruops: unknown key; did you mean student.conv_groups?",
        "seed: expected int, got 'many' (str)",
        "distill.schedule: 'linar' is not one of linear, cosine, constant; did you mean linear?",
        "student.layer_init: layer_init names layers [9], out of range 0..3",
        "student.conv_groups: ",
        "distill.losses: every weight is 0, there is nothing to learn",
        "data.root: no folder",
    ):
        assert words in done.stderr
    assert not (tmp_path / "run").exists()


def problems(config):
    return list(find_problems(config))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("student.num_hidden_layers=5", "student.num_hidden_layers: 5 layers out of range: the model has 4"),
        ("student.layer_init=[-1,0]", "student.layer_init: layer_init names layers [-1], out of range 0..3"),
        ("student.layer_init=[0,1,2]", "student.layer_init: layer_init lists 3 layers, num_hidden_layers is 2"),
        ("student.layer_init=[a,b]", "student.layer_init: "),
        ("student.layer_init=first", "student.layer_init: layer_init 'first' is none of first_k, last_k"),
        ("student.layer_init=3", "student.layer_init: "),
        ("student.layer_init=null", "student.layer_init: "),
        ("student.conv_groups=3", "student.conv_groups: "),
        ("student.conv_groups=0", "student.conv_groups: "),
        ("student.conv_groups=two", "student.conv_groups: conv_groups 'two' should be a whole number"),
        ("student.conv_groups=null", "student.conv_groups: "),
        ("student.conv_groups=1.5", "student.conv_groups: "),
        ("student.conv_groups=[1,2]", "student.conv_groups: conv_groups lists 2 numbers for 7 convolutions"),
        ("student.conv_groups=[2,2,2,2,2,2,2]", "student.conv_groups: "),
        ("distill.losses.hidden={weight: 1, matches: [[3,1]]}", "losses.hidden.matches: [3, 1] is out of range"),
        ("distill.losses.hidden={weight: 1, matches: 3}", "distill.losses.hidden.matches: "),
        ("distill.losses.hidden={weight: 1, matches: some}", "distill.losses.hidden.matches: 'some' is neither"),
        ("teacher.path=/nowhere", "teacher.path: no model folder at /nowhere"),
        ("steps=[student,student,distill,finetune]", "names a step twice"),
        ("steps=[student,finetune,distill,finetune]", "names a step twice"),
    ],
)  # fmt: skip
def test_what_only_the_model_can_tell(override, words, small_config, tmp_path):
    found = problems(small_config(tmp_path, override))
    assert len(found) == 1 and words in found[0], found


def test_a_control_without_distilling(small_config, tmp_path):
    (found,) = problems(small_config(tmp_path, "steps=[student,finetune]", "control=ctc_only"))
    assert found == "control: there is no distill step to compare with"


def test_a_loss_without_its_target(small_config, other_teachers, tmp_path):
    headless = f"teacher.path={other_teachers['headless']}"
    found = problems(small_config(tmp_path, headless, "distill.losses.ctc.weight=1", "control=ctc_only"))
    named = {"distill.losses.logit_kl", "distill.losses.ctc", "control", "finetune.head"}
    assert {sentence.split(":")[0] for sentence in found} == named
    assert any(sentence.startswith("distill.losses.logit_kl: the teacher has no CTC head") for sentence in found)
    hidden_alone = ("distill.losses.logit_kl.weight=0", "distill.losses.hidden.weight=1", "finetune.head=new")
    assert problems(small_config(tmp_path, headless, *hidden_alone)) == []


def test_a_head_over_another_vocabulary(small_config, tmp_path):
    steps = ("steps=[student,finetune,distill]", "finetune.head=new")
    (found,) = problems(small_config(tmp_path, *steps))
    assert found.startswith("distill.losses.logit_kl: ") and "another vocabulary" in found
    hidden_alone = ("distill.losses.logit_kl.weight=0", "distill.losses.hidden.weight=1")
    assert problems(small_config(tmp_path, *steps, *hidden_alone)) == []


def test_a_head_without_a_vocabulary(small_config, other_teachers, tmp_path):
    mute = f"teacher.path={other_teachers['mute']}"
    found = problems(small_config(tmp_path, mute, "distill.losses.ctc.weight=1"))
    assert [sentence.split(":")[0] for sentence in found] == ["distill.losses.ctc", "finetune.head"]
    assert problems(small_config(tmp_path, mute, "finetune.head=new")) == []
    (found,) = problems(small_config(tmp_path, mute, "finetune.head=respelled"))
    assert found.startswith("finetune.head") and "no vocabulary" in found


def test_a_missing_root_names_the_variable(small_config, tmp_path, monkeypatch):
    monkeypatch.delenv("BIGFOOT_DATA", raising=False)
    (found,) = problems(small_config(tmp_path, "data.corpus=fsdd"))
    assert found.startswith("data.root: needed for fsdd") and "BIGFOOT_DATA" in found


def test_a_folder_of_noise_that_gives_none(small_config, tmp_path):
    heard, folder = "data.augment.noise_probability=0.5", f"data.augment.noise_folder={tmp_path}"
    assert "holds no audio" in problems(small_config(tmp_path, heard, folder))[0]
    assert "no folder" in problems(small_config(tmp_path, heard, f"{folder}/nowhere"))[0]
    (tmp_path / "hum.wav").touch()
    assert problems(small_config(tmp_path, heard, folder)) == []
    (problem,) = problems(small_config(tmp_path, folder))
    assert problem.startswith("data.augment.noise_folder: never heard")


def test_nothing_is_begun_while_something_is_wrong(small_config, tmp_path):
    config = small_config(tmp_path / "run", "student.conv_groups=3")
    with pytest.raises(ConfigError) as caught:
        run_pipeline(config, problems=["seed: said before"])
    assert [sentence.split(":")[0] for sentence in caught.value.problems] == ["seed", "student.conv_groups"]
    assert not (tmp_path / "run").exists()


def test_the_control_is_the_same_with_the_teachers_losses_off():
    losses = load_config(None, ["distill.losses.hidden.weight=2"]).distill.losses
    control = without_teacher(losses)
    assert (control.logit_kl.weight, control.hidden.weight, control.ctc.weight) == (0.0, 0.0, 1.0)
    assert (losses.logit_kl.weight, losses.hidden.weight) == (1.0, 2.0)
    losses.ctc.weight = 0.3
    assert without_teacher(losses).ctc.weight == 0.3


@pytest.fixture
def other(build_huggingface, processor, tmp_path):
    return make_teacher(tmp_path / "other", build_huggingface, processor, "wavlm")


def test_a_student_that_is_not_cut_out_of_its_teacher(small_config, narrow_teacher, other, processor, tmp_path):
    assert not problems(small_config(tmp_path, f"student.path={other}", f"teacher.path={narrow_teacher}"))
    (found,) = problems(small_config(tmp_path, "student.path=/nowhere"))
    assert found == "student.path: no model folder at /nowhere"
    (found,) = problems(small_config(tmp_path, f"student.path={other}", "steps=[distill,finetune]"))
    assert found.startswith("student.path: the steps have no student")
    save_processor(replace(processor, do_normalize=False), other)
    (found,) = problems(small_config(tmp_path, f"student.path={other}", f"teacher.path={narrow_teacher}"))
    assert found.startswith(f"student.path: {narrow_teacher} normalizes audio")
    upside_down = CharTokenizer((*VOCABULARY[:-2], VOCABULARY[-1], VOCABULARY[-2]))
    save_processor(replace(processor, tokenizer=upside_down), other)
    (found,) = problems(small_config(tmp_path, f"student.path={other}", f"teacher.path={narrow_teacher}"))
    assert "other vocabularies" in found and found.startswith("distill.losses.logit_kl: ")
