"""The recipe of a teacher of real English on a few utterances: data, two sittings that are one, both passes, shards."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from transformers import Wav2Vec2ForCTC

from bigfoot.audio.files import write_audio
from bigfoot.data.synthetic import synthesize_string
from bigfoot.data.word_times import parse_word_times
from bigfoot.errors import TrainingPaused
from bigfoot.formats.folder import load_model
from bigfoot.pipeline import run_pipeline
from bigfoot.pipeline.settings import load_config
from bigfoot.training import sitting

pytestmark = pytest.mark.slow

RECIPE = Path(__file__).resolve().parent.parent / "recipes/english_teacher"
TINY = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32,
        "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}  # fmt: skip
STEPS = ["finetune.max_steps=3", "finetune.warmup_steps=1", "finetune.eval_every=3", "data.batch_seconds=8",
         "data.num_workers=0", "threads=1", "data.num_buckets=2",
         "finetune.losses.intermediate_ctc.layers=[2]"]  # fmt: skip


def load(name: str) -> ModuleType:
    """Import a script of the recipe."""
    spec = importlib.util.spec_from_file_location(f"english_{name}", RECIPE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses ask for it
    spec.loader.exec_module(module)
    return module


def call(module: ModuleType, *arguments: object) -> None:
    """Run a script's main as the shell does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(module.__name__), *map(str, arguments)])
        module.main()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of stage 1 on an imitation of the data."""
    home = tmp_path_factory.mktemp("english")
    lines = []
    for split, speakers in (("train-mini", range(11, 15)), ("dev-mini", range(21, 23))):
        for speaker in speakers:
            spoken, name = synthesize_string(1, "train", speaker, 2, 3), f"{speaker}-1-0000"
            folder = home / "corpora/LibriSpeech" / split / str(speaker) / "1"
            write_audio(folder / f"{name}.flac", spoken.samples)
            (folder / f"{speaker}-1.trans.txt").write_text(f"{name} {spoken.text}\n")
            lines.append(f"{name} {spoken.text}")
    lines += ["30-1-0000 THE SLOW LITTLE TURTLE WENT HOME BEFORE IT RAINED", "31-1-0000 A GREAT GREEN HOUSE"]
    (home / "corpora/text").mkdir()
    with gzip.open(home / "corpora/text/librispeech-train-clean-100.txt.gz", "wt") as file:
        file.write("\n".join(lines) + "\n")
    numbers = ("--spoken", 6, "--dev_speakers", 1, "--processes", 1)
    call(load("prepare"), "--data", home / "corpora", "--out", home / "data", *numbers)
    for size in ("cpu", "gpu"):
        shape = json.loads((RECIPE / f"{size}_shape.json").read_text())
        (home / f"{size}.json").write_text(json.dumps(shape | TINY | {"conv_dim": [8] * len(shape["conv_dim"])}))
        call(load("make_model"), "--shape", home / f"{size}.json", "--out", home / f"random_{size}")
    return home


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_tables_hold_speakers_apart_and_times_of_spoken_words(home: Path) -> None:
    train, dev, test = (rows(home / f"data/{split}.tsv") for split in ("train", "dev", "test"))
    recorded = [row for row in train if not row["word_times"]]
    assert len(recorded) == 3 and len(dev) == 1 and [row["speaker"] for row in test] == ["21", "22"]
    assert {row["speaker"] for row in dev}.isdisjoint(row["speaker"] for row in recorded)
    spoken = [row for row in train if row["word_times"]]
    assert spoken and all(len(parse_word_times(row["word_times"])) == len(row["text"].split()) for row in spoken)
    texts = (home / "data/text.txt").read_text().splitlines()
    assert len(texts) == 5  # of eight, less those of dev and test


def train(home: Path, config: str, run: str, teacher: str, *overrides: str) -> Path:
    places = [f"run_dir={home / run}", f"teacher.path={home / teacher}", f"data.root={home / 'data'}"]
    run_pipeline(load_config(str(RECIPE / config), [*places, *STEPS, *overrides]), until="finetune")
    facts = json.loads((home / run / "finetune/facts.json").read_text())
    assert facts["best_step"] == 3
    return home / run / "finetune/model"


def test_two_sittings_are_one_and_a_second_pass_follows(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(home, "cpu.yaml", "whole", "random_cpu")
    counted = iter(range(1, 10))
    monkeypatch.setattr(sitting.Sitting, "is_over", lambda _: next(counted) == 2)
    with pytest.raises(TrainingPaused):
        train(home, "cpu.yaml", "parts", "random_cpu", "max_minutes=10")
    parts = train(home, "cpu.yaml", "parts", "random_cpu", "max_minutes=10")
    one, two = (load_model(folder).model.state_dict() for folder in (whole, parts))
    assert all(torch.equal(weight, two[name]) for name, weight in one.items())
    assert load_model(train(home, "cpu_again.yaml", "again", "parts/finetune/model")).model.head is not None


def test_the_large_one_trains_and_is_saved_in_shards(home: Path) -> None:
    first = train(home, "gpu.yaml", "gpu", "random_gpu")
    call(load("save_shards"), first, home / "teacher", "--megabytes", 0.01)
    shards = sorted((home / "teacher").glob("*.safetensors"))
    assert len(shards) > 1 and all(path.stat().st_size < 25_000 for path in shards)
    # Its own transcripts, however far from the given ones they are after three steps.
    again = train(home, "gpu_again.yaml", "gpu_again", "gpu/finetune/model", "data.max_label_wer=99")
    assert load_model(again).model.head is not None and list((home / "gpu_again").rglob("labels.json"))
    loaded, plain = load_model(home / "teacher").model.float(), Wav2Vec2ForCTC.from_pretrained(first)
    audio = torch.randn(1, 8000, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        torch.testing.assert_close(loaded.eval()(audio).logits, plain.eval()(audio).logits, atol=2e-2, rtol=2e-2)
