"""Old configurations: the original's demo and its follow-up's convert, every key is spoken of, and the result runs."""

import copy
import json

import pytest
from omegaconf import OmegaConf

from bigfoot.pipeline.settings import Config, load_config
from tests.refusals import names
from tools.convert_kd_config import KEYS, main

FOLLOW_UP = {
    "data_loader": {
        "download": False, "train_on_dev_clean": False, "train_data_path": "/nowhere/data",
        "val_data_path": "/nowhere/data", "train_batch_size": 4, "val_batch_size": 1, "use_train_clean_100": True,
        "use_train_clean_360": False, "use_train_other_500": False, "num_workers": 4,
    },
    "knowledge_distillation": {
        "general": {
            "num_gpu_used": 4, "fairseq_pretrained_model_path": "/nowhere/wav2vec_big_960h.pt", "temperature": 1,
        },
        "optimization": {
            "max_epoch": 60, "optimize_method": "adamW_distilBert", "scheduler_method": "linear_decay_with_warm_up",
            "learning_rate": 0.00005, "num_lr_warm_up_epoch": 2,
        },
        "final_loss_coeff": {"student_loss": 0, "kd_loss": 1, "cos_embed_loss": 0, "features_pen": 1},
        "student_model": {
            "num_trans_layer_student_model": 4, "num_trans_layer_student_init_model": 12,
            "student_init_model_path": "", "student_init_model_type": "fairseq_pretrained",
            "student_trans_layer_init_method": "every_k", "change_conv_layers": True, "conv_groups": 2,
        },
        "pytorch_lightning_trainer": {
            "track_grad_norm": 2, "accumulate_grad_batches": 4, "num_nodes": 1, "precision": 16,
            "resume_from_checkpoint": "", "seed": 42,
        },
        "comet_info": {"log_to_comet": False, "comet_info_path": "", "comet_exp_name": ""},
    },
}  # fmt: skip
# The original knows no grouped convolutions, and trains on all of LibriSpeech, one utterance a batch.
ORIGINAL = copy.deepcopy(FOLLOW_UP)
ORIGINAL["data_loader"] |= {"train_batch_size": 1, "use_train_clean_360": True, "use_train_other_500": True}
del ORIGINAL["data_loader"]["download"]
ORIGINAL["knowledge_distillation"]["pytorch_lightning_trainer"]["accumulate_grad_batches"] = 1
for _name in ("change_conv_layers", "conv_groups"):
    del ORIGINAL["knowledge_distillation"]["student_model"][_name]


@pytest.fixture
def convert(tmp_path, capsys):
    """Convert a dictionary, with changes by dotted key: status, configuration or None, output, errors."""

    def run(old, *options, **changes):
        content = OmegaConf.create(copy.deepcopy(old))
        for key, value in changes.items():
            OmegaConf.update(content, key, value)
        (tmp_path / "old.yaml").write_text(OmegaConf.to_yaml(content))
        status = main([str(tmp_path / "old.yaml"), str(tmp_path / "new.yaml"), *options])
        output = capsys.readouterr()
        config = load_config(tmp_path / "new.yaml") if status == 0 else None
        return status, config, output.out, output.err

    return run


def leaves(section, prefix=""):
    for name, value in section.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


@pytest.mark.parametrize("old", [ORIGINAL, FOLLOW_UP], ids=["original", "follow-up"])
def test_every_key_is_spoken_of_once(convert, old):
    status, _, output, errors = convert(old)
    assert (status, errors) == (0, "")
    lines = [line.strip() for line in output.splitlines()]
    for key in leaves(old):
        (line,) = [line for line in lines if line.startswith(f"{key} = ")]
        assert line.partition(" -> ")[2], line
    assert "unknown" not in output
    assert set(leaves(old)) <= set(KEYS)


@pytest.mark.slow
def test_what_the_follow_up_means(convert):
    _, config, _, _ = convert(FOLLOW_UP, "--steps_per_epoch", "100")
    expected = Config()
    expected.run_dir, expected.seed, expected.steps = "runs/new", 42, ["student", "distill"]
    expected.data.corpus, expected.data.root, expected.data.dev_splits = "librispeech", "/nowhere/data", ["dev-clean"]
    expected.data.train_clean_100, expected.data.num_workers, expected.data.batch_seconds = True, 4, 60.0
    expected.teacher.path, expected.student.layer_init = "/nowhere/wav2vec_big_960h.pt", "every_k"
    distill = expected.distill
    distill.max_steps, distill.warmup_steps, distill.learning_rate = 6000, 200, 5e-5
    distill.gradient_accumulation_steps, distill.spec_augment.mask_time_prob = 4, 0.0
    distill.losses.feature_penalty.weight = 1.0
    expected.evaluate.batch_size, expected.evaluate.splits = 1, ["dev"]
    assert config == expected


def test_what_the_original_does_not_say(convert, tmp_path):
    _, config, output, _ = convert(ORIGINAL)
    assert config.student.change_conv_layers is False
    assert names(output, "change_conv_layers = False")
    assert (config.data.train_clean_100, config.data.train_clean_360, config.data.train_other_500) == (True,) * 3
    # Epochs without their length are left to the user, in words.
    assert config.distill.max_steps == Config().distill.max_steps
    assert any(names(line, "max_epoch = 60", "--steps_per_epoch") for line in output.splitlines())
    text = (tmp_path / "new.yaml").read_text()
    assert text.startswith(f"# python recipes/compress.py --config {tmp_path / 'new.yaml'}\n")
    assert "conv_groups" not in text and "temperature" not in text, "only what differs"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({"general.temperature": 2.5}, {"distill.losses.logit_kl.temperature": 2.5}),
        ({"final_loss_coeff.kd_loss": 0.5}, {"distill.losses.logit_kl.weight": 0.5}),
        ({"final_loss_coeff.cos_embed_loss": 3}, {"distill.losses.logit_cosine.weight": 3.0}),
        ({"final_loss_coeff.features_pen": 0}, {"distill.losses.feature_penalty.weight": 0.0}),
        ({"student_model.change_conv_layers": False}, {"student.change_conv_layers": False}),
        ({"student_model.conv_groups": 4}, {"student.conv_groups": 4}),
        ({"student_model.student_trans_layer_init_method": "last_k"}, {"student.layer_init": "last_k"}),
        ({"optimization.scheduler_method": ""}, {"distill.schedule": "constant", "distill.warmup_steps": 0}),
        ({"optimization.scheduler_method": "cosine_anneal"}, {"distill.schedule": "cosine"}),
        ({"optimization.optimize_method": "adam"}, {"distill.weight_decay": 0.0, "distill.adam_betas": [0.9, 0.999]}),
        ({"pytorch_lightning_trainer.precision": 32}, {"precision": "no"}),
        ({"comet_info.log_to_comet": True}, {"trackers": ["tensorboard", "comet_ml"]}),
        ({"comet_info.comet_exp_name": "big foot"}, {"run_dir": "runs/big foot"}),
    ],
)
def test_values_come_over(convert, changes, settings):
    given = {f"knowledge_distillation.{key}": value for key, value in changes.items()}
    _, config, _, _ = convert(FOLLOW_UP, "--steps_per_epoch", "100", **given)
    whole = OmegaConf.structured(config)
    assert {key: OmegaConf.select(whole, key) for key in settings} == settings


def test_training_on_dev_clean(convert):
    _, config, output, _ = convert(FOLLOW_UP, **{"data_loader.train_on_dev_clean": True})
    assert (config.data.train_splits, config.data.dev_splits, config.data.hold_out_speakers) == (["dev-clean"], [], 7)
    assert config.data.train_clean_100 is False and config.data.root == "/nowhere/data"
    assert any(names(line, "use_train_clean_100 = True", "train_on_dev_clean") for line in output.splitlines())


def test_a_teacher_folder_and_one_that_bigfoot_cannot_read(convert, narrow_teacher):
    key = "knowledge_distillation.general.fairseq_pretrained_model_path"
    _, config, output, _ = convert(FOLLOW_UP)
    (line,) = (line for line in output.splitlines() if names(line, key, "teacher.path"))
    assert names(line, "HAND", config.teacher.path)
    _, config, output, _ = convert(FOLLOW_UP, "--force", **{key: str(narrow_teacher)})
    assert config.teacher.path == str(narrow_teacher)
    assert f"{key} = {str(narrow_teacher)!r} -> teacher.path = {str(narrow_teacher)!r}\n" in output


def test_unknown_keys_are_listed(convert):
    status, _, output, _ = convert(FOLLOW_UP, **{"data_loader.shuffle": True, "wandb": "x"})
    unknown = output.partition("unknown to the original")[2]
    assert status == 0 and "data_loader.shuffle = True" in unknown and "wandb = 'x'" in unknown


def test_wrong_values_are_errors_all_at_once_and_nothing_is_written(convert, tmp_path):
    wrong = {
        "data_loader.train_batch_size": "four", "data_loader.use_train_clean_100": 1, "data_loader.num_workers": True,
        "knowledge_distillation.optimization.learning_rate": "fast",
        "knowledge_distillation.optimization.optimize_method": "lion",
        "knowledge_distillation.student_model.conv_groups": 2.5, "data_loader.train_data_path": [1],
    }  # fmt: skip
    status, _, output, errors = convert(FOLLOW_UP, **wrong)
    assert (status, output) == (2, "")
    assert errors.startswith("error: 7 problems")
    assert all(key in errors for key in wrong) and names(errors, "'four'", "'lion'", "'adam'")
    assert not (tmp_path / "new.yaml").exists()


def test_a_value_that_bigfoot_refuses_is_reported(convert):
    status, _, _, errors = convert(FOLLOW_UP, **{"knowledge_distillation.optimization.learning_rate": 0.0})
    assert status == 2 and names(errors, "distill.learning_rate", 0)


def test_nothing_is_overwritten_without_force(convert, tmp_path):
    (tmp_path / "new.yaml").write_text("mine")
    status, _, _, errors = convert(FOLLOW_UP)
    assert status == 2 and "--force" in errors and (tmp_path / "new.yaml").read_text() == "mine"
    assert convert(FOLLOW_UP, "--force")[0] == 0


@pytest.mark.parametrize("content", ["- a\n- b\n", "a: [1,\n", None])
def test_what_is_no_configuration(tmp_path, capsys, content):
    if content is not None:
        (tmp_path / "old.yaml").write_text(content)
    assert main([str(tmp_path / "old.yaml"), str(tmp_path / "new.yaml")]) == 2
    assert str(tmp_path / "old.yaml") in capsys.readouterr().err


def test_help_teaches(start):
    done = start("tools/convert_kd_config.py", "--help")
    assert done.returncode == 0 and "--steps_per_epoch" in done.stdout and "example:" in done.stdout


@pytest.mark.slow
def test_a_converted_file_runs(convert, bigfoot, small_run, tmp_path):
    convert(FOLLOW_UP)
    settings = small_run(tmp_path / "run", "data.corpus=synthetic_digits", "data.num_workers=0", "distill.max_steps=2")
    code, output, errors = bigfoot("compress", "--config", tmp_path / "new.yaml", *settings, "measure.speed=false")
    assert code == 0, output + errors
    report = json.loads((tmp_path / "run" / "report" / "report.json").read_text())
    assert [row["step"] for row in report["rows"]] == ["teacher", "student_init", "distill"]
    assert {"logit_kl", "feature_penalty"} <= set(report["losses"]["distill"][0])
