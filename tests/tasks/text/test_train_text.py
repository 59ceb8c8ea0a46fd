"""``bigfoot train-text`` from a table to a report: alone, fused, contrastive, resumed."""

import json
import os

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

import bigfoot.pipeline.train_text as runs
from bigfoot.pipeline.train_text import read_text_config, run_text
from bigfoot.tasks.text.examples import read_examples
from bigfoot.tasks.text.judge import TextJudge
from tests.codes import refusing
from tests.refusals import names

QUICK = [
    "max_steps=40", "warmup_steps=2", "learning_rate=1e-2", "batch_size=8", "eval_every=20", "checkpoint_every=20",
    "log_every=20", "bootstrap_samples=20",
]  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """48 texts whose first word is their class, a high or a low tone for each, a broken row, and a missing file."""
    folder, rng = tmp_path_factory.mktemp("texts"), np.random.default_rng(0)
    rows = ["words,mood,path"]
    for number in range(48):
        good = number % 2
        start, ends = ["bad", "good"][good], ["film", "day", "the film was fine", "very very"]
        size = 4000 + 100 * number
        tone = np.sin(np.arange(size) * [0.1, 0.6][good]) + 0.1 * rng.standard_normal(size)
        soundfile.write(folder / f"{number}.wav", tone / 4, 16000)
        rows.append(f"{start} {ends[number // 2 % 4]},{start},{number}.wav")
    (folder / "train.csv").write_text("\n".join([*rows, "good", "bad a,bad,nowhere.wav"]) + "\n")
    return folder / "train.csv"


def configure(bert, table, run_dir, *changes):
    columns = ["columns={text: words, label: mood}", f"csv={table}", f"model={bert}", f"run_dir={run_dir}"]
    return read_text_config(None, [*columns, *QUICK, *changes])


def test_audio_that_cannot_be_used_costs_its_row_before_training(bert, table, tmp_path):
    """What only decoding shows: a header is right in all of them but two."""
    rate, tone = 16000, np.sin(np.arange(16000) * 0.1)
    soundfile.write(tmp_path / "loud.wav", np.full(rate, 3e38, np.float32), rate, subtype="FLOAT")
    soundfile.write(tmp_path / "nan.wav", np.full(rate, np.nan, np.float32), rate, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", tone[:100], rate)
    soundfile.write(tmp_path / "cut.flac", tone, rate)
    os.truncate(tmp_path / "cut.flac", (tmp_path / "cut.flac").stat().st_size // 2)
    (tmp_path / "folder.wav").mkdir()
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "link.wav").symlink_to("gone.wav")
    bad = sorted(path.name for path in tmp_path.iterdir())
    good = [str(table.parent / f"{number}.wav") for number in range(48)]
    rows = [f"good film,{['bad', 'good'][row % 2]},{name}" for row, name in enumerate([*good, *bad])]
    (tmp_path / "t.csv").write_text("\n".join(["words,mood,path", *rows]))
    config = configure(bert, tmp_path / "t.csv", tmp_path / "run", "speech.fbank=8")
    splits, accounts = read_examples(config)
    assert sum(map(len, splits.values())) == accounts["train"].rows_used == len(good)
    assert [(tmp_path / name).exists() for name in bad].count(False) == 1
    lines = [f"t.csv:{len(good) + 2 + number}" for number in range(len(bad))]
    assert all(names(item.reason, line) for item, line in zip(accounts["train"].left_out, lines, strict=True))


@pytest.mark.slow
def test_text_alone_learns_opens_with_transformers_and_is_not_trained_twice(bert, table, tmp_path, bigfoot):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    settings = ["columns={text: words, label: mood}", f"run_dir={tmp_path / 'run'}", *QUICK]
    code, _, errors = bigfoot("train-text", "--csv", str(table), "--model", str(bert), *settings)
    assert code == 0, errors
    found = json.loads((tmp_path / "run/report/report.json").read_text())
    rows = {row["split"]: row for row in found["rows"]}
    assert rows["test"]["score"] == 1.0 and rows["test"]["score_low"] == 1.0
    assert [item["path"] for item in found["skipped"]] and len(found["skipped"]) == 1
    folder = tmp_path / "run" / "model"
    model, tokenizer = (kind.from_pretrained(folder) for kind in (AutoModelForSequenceClassification, AutoTokenizer))
    chosen = model(**tokenizer(["good day", "bad film"], return_tensors="pt", padding=True)).logits.argmax(-1)
    assert [model.config.id2label[int(index)] for index in chosen] == ["good", "bad"]
    before = (folder / "model.safetensors").stat().st_mtime_ns
    config = configure(bert, table, tmp_path / "run")
    assert run_text(config).rows[0].score == rows["dev"]["score"]
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    # Its head can be kept, for the same labels alone.
    more = ["max_tokens=5", "max_steps=1", "learning_rate=1e-9", "metric=loss", "head=kept"]
    kept = run_text(configure(folder, table, tmp_path / "more", *more))
    assert names(kept.notes[1], "max_tokens=5") and kept.rows[1].metrics["accuracy"] == 1.0
    with refusing(("head", "other_labels")):
        run_text(configure(folder, table, tmp_path / "other", *more, "labels=[good,bad]"))
    (folder / "model.safetensors").write_bytes(b"damaged")
    assert run_text(config).rows[0].score == rows["dev"]["score"]


@pytest.mark.slow
def test_ratings_of_several_seeds_beside_their_floors(bert, tmp_path, bigfoot):
    """Numbers are cut into three ratings; transformers opens thresholds."""
    from transformers import AutoModelForSequenceClassification

    words, ends = ["awful", "fine", "good"], ["film", "day", "the film was a day", "very very"]
    rows = [f"{words[n % 3]} {ends[n // 3 % 4]} {n},{1 + 2 * (n % 3)}" for n in range(48)]
    (tmp_path / "train.csv").write_text("\n".join(["text,stars", *rows]))
    settings = ["kind=ordinal", "edges=[2,4]", "columns={label: stars}", f"run_dir={tmp_path / 'run'}", *QUICK,
                "learning_rate=5e-3", "trackers=[]"]  # fmt: skip
    given = ["--csv", str(tmp_path / "train.csv"), "--model", str(bert), "--seeds", "1,2"]
    code, output, errors = bigfoot("train-text", *given, *settings)
    assert code == 0, errors
    found = json.loads((tmp_path / "run/repeats.json").read_text())["repeats"]
    *floors, test = [entry for entry in found if entry["split"] == "test"]
    assert [entry["model"] for entry in floors] == ["floor: majority", "floor: TF-IDF + logistic regression"]
    assert test["metric"] == "quadratic_kappa" and set(test["scores"]) == {"seed1", "seed2"}
    assert max(test["scores"].values()) > 0.8 and "| train_text | test |" in output
    task = json.loads((tmp_path / "run/seed1/report/report.json").read_text())["tasks"][1]
    assert set(task["floors"]) == set(task["floor_intervals"]) == {"majority", "TF-IDF + logistic regression"}
    assert task["floors"]["majority"]["quadratic_kappa"] == 0 and len(task["confusion"]) == 3
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run/seed1/model")
    assert model.config.id2label == {0: "above 2", 1: "above 4"}
    code, _, _ = bigfoot("train-text", *given[:4], *settings, "dev=dev.csv", "--folds", "3")
    assert code == 2


@pytest.mark.slow
def test_a_stopped_run_resumes_to_the_same_bits(bert, table, tmp_path, monkeypatch):
    run_text(configure(bert, table, tmp_path / "whole"))
    judge = TextJudge.judge

    def stop(self, student, step, max_steps):
        if step == 40:
            raise KeyboardInterrupt
        return judge(self, student, step, max_steps)

    monkeypatch.setattr(TextJudge, "judge", stop)
    with pytest.raises(KeyboardInterrupt):
        run_text(configure(bert, table, tmp_path / "cut"))
    monkeypatch.setattr(TextJudge, "judge", judge)
    asked = []
    stream = runs.TextTrainer._stream
    monkeypatch.setattr(runs.TextTrainer, "_stream", lambda self: asked.append(self.progress.step) or stream(self))
    run_text(configure(bert, table, tmp_path / "cut"))
    assert asked == [20]
    one, other = (load_file(tmp_path / name / "last" / "model.safetensors") for name in ("whole", "cut"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_speech_tells_what_the_text_does_not(bert, table, tmp_path):
    """Texts without their first word say nothing; the tone does. Beside the task, both are drawn together."""
    lines = table.read_text().splitlines()
    blind = table.with_name("blind.csv")
    blind.write_text("\n".join([lines[0], *(line.split(" ", 1)[1] for line in lines[1:49])]) + "\n")
    speech = ["speech.fbank=16", "speech.width=16", "speech.num_heads=2", "speech.embedding_size=8"]
    report = run_text(configure(bert, blind, tmp_path / "run", *speech, "contrastive.weight=0.1"))
    _, test = report.rows
    assert test.score == 1.0 and 0 <= test.metrics["retrieval"] <= 1
    assert {"task", "contrastive"} <= report.losses["train_text"][0].keys()
    alone = run_text(configure(bert, blind, tmp_path / "contrast", *speech, "contrastive.weight=1", "task_weight=0"))
    assert alone.rows[0].metric == "retrieval" and alone.rows[0].score == alone.rows[0].metrics["retrieval"]
    assert list(alone.rows[0].metrics) == ["retrieval"]


@pytest.mark.slow
def test_phonemes_take_the_place_of_the_text(bert, table, tmp_path):
    from bigfoot.data.manifests import ListedUtterance
    from bigfoot.formats.folder import load_model
    from bigfoot.tasks.text.texts import pronounce_texts, transcribe_texts

    items = [ListedUtterance(str(n), table.with_name(f"{n}.wav"), "good day", "ann") for n in range(3)]
    assert pronounce_texts(items, "en-us")[0].text.split()[:2] == ["\u0261", "\u028a"]
    loaded = load_model("tiny_teacher")
    together, alone = (transcribe_texts(items, loaded, size) for size in (3, 1))
    assert [item.text for item in together] == [item.text for item in alone]


def test_settings_that_do_not_go_together_are_refused():
    absent = [("csv", "no_value"), ("model", "no_value")]
    with refusing(*absent, ("contrastive.weight", "not_read"), ("text", "not_read")):
        read_text_config(None, ["contrastive.weight=1", "text=recognized"])
    given = ["csv=a", "model=b", "metric=wer", "edges=[2,1]", "speech.kernel=2", "learning_rate_factors={lm_head: 1}"]
    unknown = [("learning_rate_factors", "unknown_word"), ("metric", "unknown_word")]
    edges = [("edges", "not_read"), ("edges", "bad_bounds")]
    with refusing(*unknown, *edges, ("speech.kernel", "out_of_range")):
        read_text_config(None, given)
