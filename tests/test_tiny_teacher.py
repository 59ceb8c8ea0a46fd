"""The teacher that ships with bigfoot: what it is, and how well it transcribes."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest
import torch
from transformers import Wav2Vec2ForCTC, Wav2Vec2Processor

from bigfoot.data.corpora import prepare_data
from bigfoot.data.settings import DataConfig
from bigfoot.data.synthetic import VARIANTS
from bigfoot.evaluation.evaluate import evaluate_accuracy, measure_batch_invariance
from bigfoot.formats.folder import load_model, resolve_model
from bigfoot.pipeline.settings import Config

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("BIGFOOT_DATA", ROOT.parent / "shared" / "data"))
# The 32 tokens of facebook/wav2vec2-base-960h, by id.
BASE_960H = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]


@pytest.mark.slow
def test_is_a_plain_hugging_face_folder_of_the_promised_shape() -> None:
    folder = resolve_model("tiny_teacher")
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 12e6
    model, processor = Wav2Vec2ForCTC.from_pretrained(folder), Wav2Vec2Processor.from_pretrained(folder)
    assert model.config.num_hidden_layers == 12
    assert set(model.config.conv_dim) == {64}
    assert processor.tokenizer.convert_ids_to_tokens(range(32)) == BASE_960H
    loaded = load_model("tiny_teacher")
    assert list(loaded.processor.tokenizer.vocabulary) == BASE_960H
    samples = torch.randn(1, 8000)
    assert torch.allclose(loaded.model(samples).logits, model(samples).logits, atol=1e-4)
    assert (folder / "README.md").exists()


def test_voices_of_the_splits_are_disjoint() -> None:
    train, dev, test = (set(VARIANTS[split]) for split in ("train", "dev", "test"))
    assert not train & dev and not train & test and not dev & test


@pytest.mark.slow
@pytest.mark.parametrize(("corpus", "bar"), [("synthetic_digits", 0.05), ("fsdd", 0.12)])
def test_transcribes_what_it_never_trained_on(corpus: str, bar: float, tmp_path: Path) -> None:
    if corpus == "fsdd" and not (DATA / "fsdd").is_dir():
        pytest.skip(f"no fsdd under {DATA}")
    root = str(DATA / "fsdd") if corpus == "fsdd" else None
    config = DataConfig(corpus=corpus, root=root, num_train=1, num_dev=1, num_test=130)
    prepared = prepare_data(config, Config().seed, tmp_path)
    loaded = load_model("tiny_teacher")
    rate = evaluate_accuracy(loaded, prepared.manifests["test"], Config().evaluate, seed=0).error_rate
    assert rate.num_words >= 500
    assert rate.wer is not None and rate.wer <= bar
    assert measure_batch_invariance(loaded, prepared.manifests["test"]).invariant


@pytest.mark.slow
def test_recipe_trains_stops_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (DATA / "fsdd").is_dir():
        pytest.skip(f"no fsdd under {DATA}")
    spec = importlib.util.spec_from_file_location("train_teacher", ROOT / "recipes/tiny_teacher/train.py")
    assert spec is not None and spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, recipe)  # dataclasses ask for it
    spec.loader.exec_module(recipe)
    small = ["--pool=12", "--batch_seconds=4", "--dev=2", "--every=2", "--warm_steps=2", "--threads=1"]
    for steps in ("2", "4"):
        command = ["train.py", "--fsdd", str(DATA / "fsdd"), "--out", str(tmp_path), "--steps", steps, *small]
        monkeypatch.setattr(sys, "argv", command)
        recipe.main()
    curve = (tmp_path / "curve.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in curve] == ["2", "4"]
    assert load_model(tmp_path / "model").model.head is not None
