"""Rows and seconds in are rows and seconds used and left out, in every command that reads a corpus."""

import json

import numpy as np
import pytest
import soundfile

from bigfoot.data.corpora import load_prepared, prepare_data
from bigfoot.data.describe import describe_corpus
from bigfoot.data.settings import DataConfig
from bigfoot.data.synthetic import synthesize_string
from bigfoot.report.corpus import to_json
from tests.refusals import names


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Rows of all kinds: 3 good ones, of which one has no transcript to judge by; and what is wrong with the others."""
    folder = tmp_path_factory.mktemp("corpus")
    samples = synthesize_string(0, "dev", 1, 2, 2).samples[:16000]
    for name in ("good1", "good2", "strange"):
        soundfile.write(folder / f"{name}.flac", samples, 16000)
    soundfile.write(folder / "short.flac", samples[:800], 16000)
    soundfile.write(folder / "silent.flac", np.zeros(32000), 16000)
    rows = {"good1": "ONE", "good2": "TWO", "strange": "EIN\u00c4", "short": "ONE", "silent": "ONE", "gone": "ONE"}
    lines = ["path,text", *(f"{name}.flac,{text}" for name, text in rows.items()), "good1.flac"]
    (folder / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_a_split(corpus, tmp_path):
    config = DataConfig(corpus="table", root=str(corpus), test_splits=["t.csv"])
    prepare_data(config, 0, tmp_path, characters="EINOTW ")
    prepared = load_prepared(tmp_path)
    account = prepared.account("test")
    assert (account.rows, account.rows_used, len(account.left_out)) == (7, 2, 5)
    # One row is broken and one file is missing: nobody knows how long they are.
    assert account.seconds_used == pytest.approx(2) and account.num_unknown == 2
    assert account.seconds_left_out == pytest.approx(1 + 0.05 + 2) and account.seconds == pytest.approx(5.05)
    found = to_json(describe_corpus(prepared))["accounts"]["test"]
    assert (found["rows"], found["rows_used"], found["rows_left_out"]) == (7, 2, 5)
    assert prepared.account("dev").rows == 0


@pytest.mark.slow
def test_evaluate_says_on_how_many_rows_its_figure_stands(corpus, tmp_path, bigfoot):
    options = ["data.corpus=table", f"data.root={corpus}", "data.test_splits=[t.csv]", "evaluate.bootstrap_samples=5"]
    code, out, _ = bigfoot("evaluate", "tiny_teacher", "--run-dir", tmp_path, "--json", *options)
    found = json.loads(out)
    assert code == 0 and found["num_utterances"] == 2
    data = found["data"]
    assert (data["rows"], data["rows_used"], data["rows_left_out"], data["rows_without_transcript"]) == (7, 2, 5, 0)
    assert data["seconds"] == pytest.approx(data["seconds_used"] + data["seconds_left_out"])
    assert {item["name"].rpartition("/")[2] for item in data["left_out"]} == {
        "strange.flac", "short.flac", "silent.flac", "gone.flac", "t.csv"
    }  # fmt: skip
    code, out, _ = bigfoot("evaluate", "tiny_teacher", "--run-dir", tmp_path, *options)
    assert code == 0 and names(out, "2", "7") and all(item["reason"] in out for item in data["left_out"])
