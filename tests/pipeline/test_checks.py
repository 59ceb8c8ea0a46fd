import dataclasses
import re
from dataclasses import replace

import pytest

from bigfoot.config import Problem
from bigfoot.distill.registry import without_teacher
from bigfoot.errors import ConfigError
from bigfoot.pipeline import run_pipeline
from bigfoot.pipeline.settings import load_config
from bigfoot.text.tokenizers import CharTokenizer, save_processor
from tests.codes import codes
from tests.conftest import VOCABULARY, make_teacher
from tests.pipeline.problems import problems_of


def test_everything_wrong_is_reported_at_once_by_the_command(launch, narrow_teacher, tmp_path):
    """One of each kind: key, type, word, layer, groups, root."""
    wrong = [
        "student.conv_gruops=2", "seed=many", "distill.schedule=linar", "student.layer_init=[0,9,2,3]",
        "student.conv_groups=5", "data.corpus=librispeech", f"data.root={tmp_path / 'nowhere'}",
        "distill.losses.logit_kl.weight=0", f"teacher.path={narrow_teacher}", f"run_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    done = launch.run("recipes/compress.py", "--config", "demo_config.yaml", *wrong, "distill.losses.hidden.weight=0")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    named = re.findall(r"^  - ([\w.]+): ", done.stderr, flags=re.MULTILINE)
    assert sorted(named) == [
        "data.root", "distill.losses", "distill.schedule", "seed", "student.conv_groups", "student.conv_gruops",
        "student.layer_init",
    ]  # fmt: skip
    assert not (tmp_path / "run").exists()


@pytest.fixture
def find(small_run, tmp_path):
    """Key and code of all that is wrong with a small run that differs by some overrides."""
    return lambda *overrides: codes(problems_of(small_run(tmp_path, *overrides)))


LAYERS, GROUPS = ("student.layer_init", "bad_layers"), ("student.conv_groups", "bad_groups")
HEAD = ("finetune.head", "no_vocabulary")
MODEL_PROBLEMS = {
    "student.num_hidden_layers=5": ("student.num_hidden_layers", "bad_layers"),
    "distill.cache=s3://bucket/cache": ("distill.cache", "in_the_cloud"),
    "student.layer_init=[-1,0]": LAYERS,
    "student.layer_init=[0,1,2]": LAYERS,
    "student.layer_init=[a,b]": LAYERS,
    "student.layer_init=first": LAYERS,
    "student.layer_init=3": LAYERS,
    "student.layer_init=null": LAYERS,
    "student.conv_groups=3": GROUPS,
    "student.conv_groups=0": GROUPS,
    "student.conv_groups=two": GROUPS,
    "student.conv_groups=null": GROUPS,
    "student.conv_groups=1.5": GROUPS,
    "student.conv_groups=[1,2]": GROUPS,
    "student.conv_groups=[2,2,2,2,2,2,2]": GROUPS,
    "distill.losses.hidden={weight: 1, matches: [[3,1]]}": ("distill.losses.hidden.matches", "bad_matches"),
    "distill.losses.hidden={weight: 1, matches: 3}": ("distill.losses.hidden.matches", "bad_matches"),
    "distill.losses.hidden={weight: 1, matches: some}": ("distill.losses.hidden.matches", "bad_matches"),
    "evaluate={decoder: beam, hot_words: [A-B]}": ("evaluate.hot_words", "unusable"),
    "teacher.path=/nowhere": ("teacher.path", "no_model"),
    "student.path=/nowhere": ("student.path", "no_model"),
    "steps=[student,student,distill,finetune]": ("steps", "repeated"),
    "steps=[student,finetune,distill,finetune]": ("steps", "repeated"),
    "steps=[student,quantize,distill]": ("steps", "bad_order"),
    "steps=[student,supernet,finetune]": ("steps", "after_supernet"),
}


@pytest.mark.parametrize("override", MODEL_PROBLEMS)
def test_what_only_the_model_shows(override, find):
    assert find(override) == [MODEL_PROBLEMS[override]]


def test_what_a_supernet_cannot_vary(find):
    steps = "steps=[student,supernet]"
    assert find(steps, "supernet.conv_module=[0.5]") == [("supernet.parts", "not_prunable")]
    losses = "supernet.losses={logit_kl: {weight: 0}, conv_features: {weight: 1}}"
    assert find(steps, losses) == [("supernet.losses", "no_loss_of_subnets")]


def ruled_fields(section, prefix=""):
    """Every setting with a range, by its key."""
    for item in dataclasses.fields(section):
        value = getattr(section, item.name)
        if dataclasses.is_dataclass(value):
            yield from ruled_fields(value, f"{prefix}{item.name}.")
        elif "rule" in item.metadata:
            yield f"{prefix}{item.name}"


@pytest.mark.slow
@pytest.mark.parametrize("steps", ["student,distill,finetune", "prune,gates,distill"])
def test_every_wrong_value_is_reported_once(find, steps):
    keys = list(ruled_fields(load_config(None)))
    found = [key for key, _ in find(f"steps=[{steps}]", *(f"{key}=-1" for key in keys))]
    assert len(keys) > 100 and {key: found.count(key) for key in keys} == dict.fromkeys(keys, 1)


def test_a_control_without_distilling(find):
    assert find("steps=[student,finetune]", "control=ctc_only") == [("control", "no_distillation")]


def test_a_loss_without_its_target(find, other_teachers):
    headless = f"teacher.path={other_teachers['headless']}"
    found = find(headless, "distill.losses.ctc.weight=1", "control=ctc_only")
    assert {key for key, _ in found} == {
        "distill.losses.logit_kl", "distill.losses.ctc", "control", "finetune.head"
    }  # fmt: skip
    assert {("control", "no_head"), ("finetune.head", "no_head")} < set(found)
    hidden_alone = ("distill.losses.logit_kl.weight=0", "distill.losses.hidden.weight=1", "finetune.head=new")
    assert find(headless, *hidden_alone) == []


def test_a_head_over_another_vocabulary(find):
    steps = ("steps=[student,finetune,distill]", "finetune.head=new")
    assert find(*steps) == [("distill.losses.logit_kl", "other_vocabulary")]
    assert find(*steps, "distill.losses.logit_kl.weight=0", "distill.losses.hidden.weight=1") == []


@pytest.mark.slow
def test_a_head_without_a_vocabulary(find, other_teachers):
    mute = f"teacher.path={other_teachers['mute']}"
    labels = ("distill.losses.ctc", "no_vocabulary")
    assert find(mute, "distill.losses.ctc.weight=1") == [labels, HEAD]
    assert find(mute, "finetune.head=new") == []
    assert find(mute, "finetune.head=respelled") == [HEAD]
    assert find(mute, "finetune.head=new", "control=ctc_only") == [("control", "no_vocabulary")]


def test_a_decoder_with_tokens_of_its_own(find):
    decoder = ("finetune.objective=joint", "finetune.decoder.kind=pretrained", "finetune.decoder.language_model=x")
    scored = "evaluate.autoregressive.ctc_weight=0.3"
    assert find(*decoder, scored) == [("evaluate.autoregressive.ctc_weight", "other_vocabulary")]


def test_a_missing_root_names_the_variable(small_run, tmp_path, monkeypatch):
    monkeypatch.delenv("BIGFOOT_DATA", raising=False)
    (found,) = problems_of(small_run(tmp_path, "data.corpus=fsdd"))
    assert (found.key, found.code) == ("data.root", "no_corpus") and "BIGFOOT_DATA" in found.message


@pytest.mark.slow
def test_a_folder_of_noise_that_gives_none(find, tmp_path):
    used, folder = "data.augment.noise_probability=0.5", f"data.augment.noise_folder={tmp_path / 'noise'}"
    no_noise = [("data.augment.noise_folder", "no_noise")]
    assert find(used, folder) == no_noise
    (tmp_path / "noise").mkdir()
    assert find(used, folder) == no_noise
    (tmp_path / "noise" / "hum.wav").touch()
    assert find(used, folder) == []
    assert find(folder) == [("data.augment.noise_folder", "not_read")]


def test_nothing_is_done_while_something_is_wrong(small_config, tmp_path):
    config = small_config(tmp_path / "run", "student.conv_groups=3")
    with pytest.raises(ConfigError) as caught:
        run_pipeline(config, problems=[Problem("seed", "wrong_type", "found before")])
    assert codes(caught.value.problems) == [("seed", "wrong_type"), GROUPS]
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


@pytest.mark.slow
def test_a_student_that_is_not_cut_out_of_its_teacher(find, narrow_teacher, other, processor):
    pair = (f"student.path={other}", f"teacher.path={narrow_teacher}")
    assert not find(*pair)
    assert find(pair[0], "steps=[distill,finetune]") == [("student.path", "not_read")]
    save_processor(replace(processor, do_normalize=False), other)
    assert not find(*pair)
    upside_down = CharTokenizer((*VOCABULARY[:-2], VOCABULARY[-1], VOCABULARY[-2]))
    save_processor(replace(processor, tokenizer=upside_down), other)
    assert not find(*pair)
    pairs_of_letters = CharTokenizer((*VOCABULARY[:-1], "QU"))
    save_processor(replace(processor, tokenizer=pairs_of_letters), other)
    assert find(*pair) == [("distill.losses.logit_kl", "other_vocabulary")]


ODD = {
    "plugins: 3\nsteps: student\nstudent: {techniques: {depth: {num_hidden_layers: 3}}}": [
        ("plugins", "wrong_type"), ("steps", "wrong_type"), ("student.techniques", "wrong_type"),
    ],
    "student: {techniques: [{depth: {num_hidden_layers: abc}}, {reshape: {shape: {hidden_size: abc}}}, "
    "{conv_groups: {conv_groups: null}}, {prune: {parts: 3}}, {quantize: {precision: int9}}]}": [
        ("student.techniques[0].depth.num_hidden_layers", "wrong_type"),
        ("student.techniques[3].prune", "wrong_type"),
        ("student.techniques[4].quantize.precision", "unknown_word"),
        ("student.techniques[1].reshape.shape", "bad_shape"),
        ("student.techniques[2].conv_groups.conv_groups", "bad_groups"),
    ],
    "student:\n  shape: {hidden_size: abc, conv_dim: 3}\n  conv_groups: {a: 1}\n  conv_sharing: [1, 2]\n"
    "  layer_init: {a: 1}": [
        ("student.layer_init", "bad_layers"), ("student.shape", "bad_shape"), ("student.conv_groups", "bad_groups"),
        ("student.conv_sharing", "bad_sharing"),
    ],
    "student: {low_rank: {linears: [x, q_proj], rank: 9999}}\nprune: {parts: [headz]}\nquantize: {keep_fp32: [nope]}\n"
    "steps: [student, prune, quantize, quantize, foo]": [
        ("prune.parts", "unknown_word"), ("steps", "unknown_word"), ("steps", "repeated"),
        ("student.low_rank.linears", "unknown_word"), ("student.low_rank.rank", "bad_rank"), ("steps", "bad_order"),
        ("quantize.keep_fp32", "no_such_layer"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("text", ODD)
def test_a_file_with_several_faults_shows_all_of_them(text, tmp_path):
    (tmp_path / "odd.yaml").write_text(text)
    assert codes(problems_of([], tmp_path / "odd.yaml")) == ODD[text]
