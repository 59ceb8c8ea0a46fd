import ast
import collections
import dataclasses
import inspect
import typing
from pathlib import Path

import pytest

import bigfoot.config
from bigfoot.config import find_config, save_config, to_dict
from bigfoot.data.settings import DataConfig
from bigfoot.errors import ConfigError
from bigfoot.models.decoders import shape as decoder_shape
from bigfoot.models.tasks import shape as task_shape
from bigfoot.pipeline.settings import Config, load_config, read_config
from bigfoot.tasks.settings import HeadConfig
from bigfoot.training.finetuning import DecoderConfig

ROOT = Path(__file__).resolve().parent.parent

WRONG = {
    "student.conv_gruops=4": ("student.conv_gruops", "unknown_key"),
    "distil.max_steps=4": ("distil.max_steps", "unknown_key"),
    "finetune.losses.ctc.weight=1": ("finetune.losses.ctc", "not_read"),
    "distill={select: last, patience: 2}": ("distill.select", "not_with_patience"),
    "finetune.losses.hidden.weight=1": ("finetune.losses.hidden", "not_read"),
    "seed=many": ("seed", "wrong_type"),
    "distill.learning_rate=fast": ("distill.learning_rate", "wrong_type"),
    "data.augment.speed=[slow,fast]": ("data.augment.speed", "wrong_type"),
    "student=3": ("student", "section"),
    "control=ctc_ony": ("control", "unknown_word"),
    "precision=bf17": ("precision", "unknown_word"),
    "finetune.head=newer": ("finetune.head", "unknown_word"),
    "distill.schedule=cosin": ("distill.schedule", "unknown_word"),
    "distill.losses.hidden.distance=l2": ("distill.losses.hidden.distance", "unknown_word"),
    "data.corpus=libri": ("data.corpus", "unknown_word"),
    "data.on_bad_audio=ignore": ("data.on_bad_audio", "unknown_word"),
    "data.batch_seconds=0": ("data.batch_seconds", "out_of_range"),
    "distill.max_steps=0": ("distill.max_steps", "out_of_range"),
    "finetune.learning_rate=-1e-4": ("finetune.learning_rate", "out_of_range"),
    "distill.learning_rate=.nan": ("distill.learning_rate", "out_of_range"),
    "distill.losses.logit_kl.temperature=0": ("distill.losses.logit_kl.temperature", "out_of_range"),
    "distill.losses.ctc.weight=-1": ("distill.losses.ctc.weight", "out_of_range"),
    "data.num_workers=-1": ("data.num_workers", "out_of_range"),
    "distill.spec_augment.mask_time_prob=5": ("distill.spec_augment.mask_time_prob", "out_of_range"),
    "seed=4294967296": ("seed", "out_of_range"),
    "threads=0": ("threads", "out_of_range"),
    "trackers=[tensorbord]": ("trackers", "unknown_word"),
    "steps=[student,destill]": ("steps", "unknown_word"),
    "evaluate.splits=[train]": ("evaluate.splits", "unknown_word"),
    "data.min_digits=9": ("data.max_digits", "below_minimum"),
    "data.augment.gain_db=[3,-3]": ("data.augment.gain_db", "bad_bounds"),
    "distill.learning_rate_factors.encodr=2": ("distill.learning_rate_factors", "unknown_word"),
    "finetune.adam_betas=[0.9]": ("finetune.adam_betas", "bad_length"),
    "distill.grow_groups=[5,3]": ("distill.grow_groups", "bad_bounds"),
    "gates.parts=[]": ("gates.parts", "empty"),
    "gates.parts=[head]": ("gates.parts", "unknown_word"),
    "supernet.width=[0]": ("supernet.width", "out_of_range"),
    "supernet.bits=[4]": ("supernet.bits", "unknown_word"),
    "prune.parts=[]": ("prune.parts", "empty"),
    "prune.part_ratios.heads=2": ("prune.part_ratios", "out_of_range"),
    "quantize.percentile=50": ("quantize.percentile", "out_of_range"),
    "finetune.tokenizer=bpe": ("finetune.tokenizer", "other_vocabulary"),
    "finetune.tokenizer_path=x": ("finetune.tokenizer_path", "needs_each_other"),
    "finetune.tokenizer_text=x": ("finetune.tokenizer_text", "not_read"),
    "finetune.label_smoothing=[0.1]": ("finetune.label_smoothing", "bad_bounds"),
    "finetune.decoder.streams=[]": ("finetune.decoder.streams", "empty_or_repeated"),
    "finetune.decoder.hidden_size=30": ("finetune.decoder.hidden_size", "indivisible"),
    "run_dir=${nowhere}": ("run_dir", "unreadable"),
    "seed": ("seed", "no_value"),
    "seed=[1,": ("seed", "unreadable"),
}
NEAREST = {
    "student.conv_gruops=4": "student.conv_groups",
    "distil.max_steps=4": "distill.max_steps",
    "gates.losses.ctx.weight=1": "gates.losses.ctc.weight",
    "control=ctc_ony": "ctc_only",
    "precision=bf17": "bf16",
    "distill.schedule=cosin": "cosine",
}


@pytest.mark.parametrize("override", WRONG)
def test_what_is_wrong_is_named(override):
    _, problems = read_config(None, [override])
    assert [(problem.key, problem.code) for problem in problems] == [WRONG[override]]


@pytest.mark.parametrize("override", NEAREST)
def test_the_nearest_name_is_offered(override):
    _, (problem,) = read_config(None, [override])
    assert problem.message.endswith(f" {NEAREST[override]}?")


def test_all_that_is_wrong_is_collected():
    with pytest.raises(ConfigError) as caught:
        load_config(None, [override for override in WRONG if override != "finetune.tokenizer=bpe"])
    named = {problem.key for problem in caught.value.problems}
    assert {key for key, _ in WRONG.values()} - named == {"finetune.tokenizer"}
    assert str(caught.value).count("\n  - ") == len(caught.value.problems)


@pytest.mark.parametrize("written", ["1e-4", "1E-4", "1.0e-4", "0.0001", ".0001"])
def test_a_small_number_is_a_float_in_yaml_and_on_the_command_line(written, tmp_path):
    (tmp_path / "c.yaml").write_text(f"distill: {{learning_rate: {written}}}\nfinetune:\n  learning_rate: {written}\n")
    config = load_config(tmp_path / "c.yaml", [f"distill.losses.ctc.weight={written}"])
    found = (config.distill.learning_rate, config.finetune.learning_rate, config.distill.losses.ctc.weight)
    assert found == (1e-4, 1e-4, 1e-4)


def test_an_integer_is_a_float_but_a_fraction_is_no_integer():
    config, problems = read_config(None, ["distill.learning_rate=1", "seed=1.5"])
    assert config.distill.learning_rate == 1.0
    assert [(problem.key, problem.code) for problem in problems] == [("seed", "wrong_type")]


def test_a_file_is_overridden_key_by_key(tmp_path):
    student = "student:\n  num_hidden_layers: 5\n  layer_init: [0, 1, 2, 3, 4]\n"
    (tmp_path / "c.yaml").write_text(f"seed: 3\n{student}data:\n")
    config = load_config(tmp_path / "c.yaml", ["student.conv_groups=[1,2,4]", "run_dir=a=b", "control=null"])
    assert (config.seed, config.student.num_hidden_layers, config.run_dir) == (3, 5, "a=b")
    assert (config.student.layer_init, config.student.conv_groups) == ([0, 1, 2, 3, 4], [1, 2, 4])
    assert config.data == Config().data


def test_keys_that_are_no_words_and_values_with_a_nul_are_named(tmp_path):
    (tmp_path / "c.yaml").write_text("7: 2\non: 3\nstudent: {2.5: 4}\n")
    _, problems = read_config(tmp_path / "c.yaml", ['run_dir="a\\0b"'])
    assert [(problem.key, problem.code) for problem in problems] == [
        ("7", "unknown_key"), ("True", "unknown_key"), ("student.2.5", "unknown_key"), ("run_dir", "unreadable")
    ]  # fmt: skip


def test_two_rates_of_parts_are_both_meant(tmp_path):
    (tmp_path / "c.yaml").write_text("distill:\n  learning_rate_factors: {encoder: 0.5, lm_head: 3}\n")
    overrides = [f"distill.learning_rate_factors.{part}" for part in ("encoder=0.1", "feature_encoder=0.2")]
    config = load_config(tmp_path / "c.yaml", overrides)
    assert config.distill.learning_rate_factors == {"encoder": 0.1, "lm_head": 3.0, "feature_encoder": 0.2}
    emptied = load_config(tmp_path / "c.yaml", ["distill.learning_rate_factors={}", overrides[0]])
    assert emptied.distill.learning_rate_factors == {"encoder": 0.1}
    assert config.finetune.learning_rate_factors == {}


def test_matches_stay_a_list_of_pairs():
    config = load_config(None, ["distill.losses.hidden.matches=[[1,3],[2,6]]"])
    assert config.distill.losses.hidden.matches == [[1, 3], [2, 6]]


def test_a_missing_file_lists_what_there_is():
    with pytest.raises(ConfigError) as caught:
        find_config("demo.yaml")
    (problem,) = caught.value.problems
    assert problem.code == "no_file" and "demo_config.yaml" in problem.message


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", "a: 1\n\tb: 2\n"])
def test_a_file_that_is_no_configuration(text, tmp_path):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path / "c.yaml")
    assert [problem.code for problem in caught.value.problems] == ["not_yaml"]


@pytest.mark.slow
def test_saved_with_every_key_and_read_back(tmp_path):
    overrides = ["student.layer_init=[0,3,7,11]", "distill.learning_rate_factors.encoder=2"]
    config = load_config("demo_config.yaml", overrides)
    save_config(config, tmp_path / "deep" / "c.yaml")
    assert to_dict(load_config(tmp_path / "deep" / "c.yaml")) == to_dict(config)


def test_defaults_are_right():
    assert load_config(None) == Config()


def settings_classes(section=Config):
    """The dataclass of a run, and all that are below it or that they inherit from."""
    found = {base for base in section.__mro__ if dataclasses.is_dataclass(base)}
    for hint in typing.get_type_hints(section).values():
        if dataclasses.is_dataclass(hint):
            found |= settings_classes(hint)
    return found


def test_every_field_has_a_sentence():
    missing, fields = [], 0
    for section in settings_classes():
        (tree,) = ast.parse(inspect.getsource(section)).body
        for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
            if isinstance(node, ast.AnnAssign) and not ast.unparse(node.annotation).startswith("ClassVar"):
                fields += 1
                follows = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                sentence = follows and str(after.value.value)
                if not (sentence and sentence.rstrip().endswith(".") and len(sentence) > 10):
                    missing.append(f"{section.__name__}.{node.target.id}")
    assert fields > 60 and missing == []


def test_settings_are_declared_once():
    names = [section.__name__ for section in settings_classes()]
    assert len(names) == len(set(names))


def words_of(path):
    """Lists of words that a module writes out: of ``one_of``, and in tuples, lists and sets."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        is_rule = isinstance(node, ast.Call) and ast.unparse(node.func) == "one_of"
        items = node.args if is_rule else getattr(node, "elts", [])
        values = (item.value for item in items if isinstance(item, ast.Constant))
        words = frozenset(value for value in values if isinstance(value, str))
        if len(words) > 2:
            yield words, is_rule


@pytest.mark.slow
def test_the_words_of_a_setting_are_written_once():
    found = [(words, is_rule, path) for path in (ROOT / "bigfoot").rglob("*.py") for words, is_rule in words_of(path)]
    places = collections.defaultdict(list)
    for words, _, path in found:
        places[words].append(path.relative_to(ROOT).as_posix())
    twice = {words: places[words] for words, is_rule, _ in found if is_rule and len(places[words]) > 1}
    # Networks are below torch, and settings are read without it: see the next test.
    assert {words: paths for words, paths in twice.items() if not any("models/" in path for path in paths)} == {}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (DecoderConfig, decoder_shape._WORDS),
        (HeadConfig, {"pooling": task_shape.POOLING_NAMES, "layers": task_shape.LAYERS, "link": task_shape.LINKS}),
    ],
)
def test_settings_of_a_network_name_what_it_takes(settings, words):
    ours = {field.name: set(field.metadata["words"]) for field in dataclasses.fields(settings) if field.name in words}
    assert ours == {name: set(given) for name, given in words.items()}


def test_names_that_moved_are_still_found():
    assert bigfoot.config.DataConfig is DataConfig and bigfoot.config.load_config is load_config
    with pytest.raises(AttributeError):
        _ = bigfoot.config.Confog
