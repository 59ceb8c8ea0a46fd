"""One run of a comparison."""

import os
import shutil

import pytest
import soundfile
import torch

from bigfoot.formats.folder import load_model
from bigfoot.pipeline.settings import load_config
from bigfoot.study.inputs import digest_inputs
from bigfoot.study.trial import read_trial, run_trial


@pytest.mark.slow
def test_teacher_alone_is_judged_and_nothing_is_trained(small_run, tmp_path):
    settings = ["steps=[]", "scale=tiny", "teacher.path=facebook/wav2vec2-base"]
    trial = run_trial(load_config(None, [*small_run(tmp_path), *settings]), "k")
    assert (trial.model, trial.start, trial.steps, trial.train_seconds) == ("tiny_teacher", "", {}, 0)
    assert len(trial.references) == len(trial.hypotheses) == 6 and trial.wer < 0.5 and trial.inputs
    assert read_trial(tmp_path, "k") == trial and read_trial(tmp_path, "other") is None
    assert read_trial(tmp_path / "nowhere", "k") is None


@pytest.fixture
def of_a_table(narrow_teacher, tmp_path):
    """A run of the teacher alone, whose data were prepared from a table, and its settings."""
    from bigfoot.data.synthetic import synthesize_split

    (tmp_path / "corpus").mkdir()
    lines = ["path\ttext"]
    for number, made in enumerate(synthesize_split(0, "train", 4, 2, 3)):
        soundfile.write(tmp_path / "corpus" / f"{number}.wav", made.samples, 16_000)
        lines.append(f"{number}.wav\t{made.text}")
    (tmp_path / "corpus" / "all.tsv").write_text("\n".join(lines) + "\n")
    shutil.copytree(narrow_teacher, tmp_path / "teacher")
    splits = [f"data.{split}_splits=[{tmp_path}/corpus/all.tsv]" for split in ("train", "dev", "test")]
    given = ["steps=[]", "trackers=[]", "data.corpus=table", *splits, f"teacher.path={tmp_path}/teacher"]
    config = load_config(None, [*given, f"run_dir={tmp_path}/run", "evaluate.bootstrap_samples=5"])
    return run_trial(config, "k"), config


def _reorder(folder):
    head, *rows = (folder / "corpus" / "all.tsv").read_text().splitlines()
    (folder / "corpus" / "all.tsv").write_text("\n".join([head, *reversed(rows)]) + "\n")


def _edit_text(folder):
    file = folder / "corpus" / "all.tsv"
    file.write_text(file.read_text()[:-2] + "S\n")


def _replace_audio(folder):
    path, times = folder / "corpus" / "1.wav", (folder / "corpus" / "1.wav").stat()
    content = path.read_bytes()
    path.write_bytes(content[:2000] + bytes(len(content) - 2000))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _flip_teacher(folder):
    path = folder / "teacher" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")


def _damage_manifest(folder):
    path = next((folder / "run" / "data").glob("cuts_test*"))
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.slow
def test_a_result_belongs_to_its_corpus_and_files(of_a_table, tmp_path):
    trial, config = of_a_table
    assert trial.inputs and digest_inputs(config, trial.model) == trial.inputs
    for change in (_reorder, _edit_text, _replace_audio, _flip_teacher, _damage_manifest):
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        change(tmp_path)
        assert digest_inputs(config, trial.model) != trial.inputs, change.__name__
        # What was only touched, or is as it was again, has not changed.
        for path, content in before.items():
            path.write_bytes(content)
        assert digest_inputs(config, trial.model) == trial.inputs


@pytest.mark.slow
def test_prune_and_distill_in_turns(small_run, tmp_path):
    turns = ["steps=[prune,distill,prune,distill,finetune]", "prune.importance=l1", "prune.parts=[feed_forward]"]
    trial = run_trial(load_config(None, small_run(tmp_path, *turns)), "k")
    assert trial.model == str(tmp_path / "finetune" / "model")
    assert trial.steps == {"distill": 6, "distill_2": 6, "finetune": 3} == trial.steps
    assert trial.start == "prune" and list(trial.losses) == list(trial.steps)
    loaded = load_model(trial.model).model
    assert trial.num_params == sum(each.numel() for each in loaded.parameters())
    assert trial.train_seconds > 0 and torch.isfinite(torch.tensor(list(trial.losses.values()))).all()
