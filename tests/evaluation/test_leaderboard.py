"""Models in one table: Whisper's normalizer, the leaderboard's columns, and answers that are kept."""

import csv
import json

import jiwer
import pytest

from bigfoot.cli.leaderboard import leaderboard
from bigfoot.data.batches import read_utterances
from bigfoot.data.cuts import write_relabelled
from bigfoot.evaluation.evaluate import evaluate_accuracy
from bigfoot.evaluation.leaderboard import Answer, score_answers
from bigfoot.evaluation.settings import EvaluateConfig
from bigfoot.formats.folder import LoadedModel
from bigfoot.report.leaderboard import read_answers
from bigfoot.runtime.transcriber import Transcriber
from tests.codes import refusing

pytest.importorskip("whisper_normalizer")
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

SMALL = ["--set", "data.num_train=1", "--set", "data.num_test=4"]


@pytest.fixture
def table(bigfoot, tmp_path):
    """Call the command; returns the rows of its CSV by model."""

    def call(*models, options=()):
        code, _, err = bigfoot(
            "leaderboard", *models, "--config", "demo_config.yaml", *SMALL, *options, "--out", tmp_path
        )
        assert code == 0, err
        with (tmp_path / "leaderboard.csv").open() as file:
            return {row["model"]: row for row in csv.DictReader(file)}

    return call


@pytest.mark.slow
def test_wer_is_that_of_the_files_of_answers(table, tmp_path, narrow_teacher, monkeypatch):
    rows = table("tiny_teacher", str(narrow_teacher))
    files = sorted(tmp_path.glob("MODEL_*_DATASET_demo_config_test.jsonl"))
    assert len(files) == len(rows) == 2
    normalize = EnglishTextNormalizer()
    for path in files:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        wer = jiwer.wer([normalize(line["text"]) for line in lines], [normalize(line["pred_text"]) for line in lines])
        rtfx = sum(line["duration"] for line in lines) / sum(line["time"] for line in lines)
        row = rows["tiny_teacher" if "tiny_teacher" in path.name else str(narrow_teacher)]
        assert float(row["demo_config WER"]) == float(row["Average WER"]) == pytest.approx(100 * wer, abs=0.005)
        assert float(row["RTFx"]) == pytest.approx(rtfx, abs=0.005)
    calls = []
    whole = Transcriber.transcribe
    monkeypatch.setattr(Transcriber, "transcribe", lambda self, *a: calls.append(self.facts.name) or whole(self, *a))
    again = table("tiny_teacher", str(narrow_teacher), options=["--normalizer", "vocabulary"])
    assert not calls and again.keys() == rows.keys()
    files[0].unlink()
    table("tiny_teacher", str(narrow_teacher))
    assert len(set(calls)) == 1
    before = len(calls)
    table("tiny_teacher", options=["--set", "data.num_test=5"])
    assert len(calls) > before


def test_a_file_of_another_is_not_overwritten(bigfoot, tmp_path):
    mine = tmp_path / "MODEL_tiny_teacher_DATASET_demo_config_test.jsonl"
    mine.write_text("mine\n")
    code, _, _ = bigfoot("leaderboard", "tiny_teacher", "--config", "demo_config.yaml", *SMALL, "--out", tmp_path)
    assert code == 1 and mine.read_text() == "mine\n" and read_answers(mine, "any") is None


@pytest.mark.parametrize(
    ("models", "changes", "problem"),
    [
        (["a", "a"], {}, ("MODEL", "repeated")),
        (["a"], {"config": ["fsdd.yaml", "./fsdd.yaml"]}, ("--config", "repeated")),
        (["a"], {"split": "train"}, ("--split", "unknown_word")),
        (["a"], {"normalizer": "german"}, ("evaluate.normalizer", "unknown_word")),
    ],
)
def test_what_cannot_be_a_table_is_refused(tmp_path, models, changes, problem):
    with refusing(problem):
        leaderboard(models, **{"config": ["fsdd.yaml"], "out": tmp_path, **changes})


def test_fillers_are_no_reference_and_extra_words_count():
    answers = [
        Answer("a", 2.0, 0.5, "Uh, hmm!", "nothing", "ann"),
        Answer("b", 3.0, 0.5, "Mr. O'Neil won't pay £20", "mister o'neil will not not pay", "ann"),
    ]
    score = score_answers(answers, "english", samples=20, seed=1)
    counts = score.rate.words
    assert (counts.insertions, counts.deletions, counts.substitutions, score.rate.num_words) == (1, 1, 0, 7)
    assert score.rtfx == 5.0
    assert score_answers([], "basic", samples=20, seed=1).rtfx is None


@pytest.mark.slow
def test_evaluation_compares_in_the_form_that_is_asked_for(build_model, processor, small_digits, tmp_path):
    names = [item.id for item in read_utterances(small_digits.manifests["test"])]
    texts = dict(zip(names, ["um", "Mr. Two", "colour [noise]"], strict=False))
    write_relabelled(small_digits.manifests["test"], texts, tmp_path / "some.jsonl.gz")
    loaded = LoadedModel(build_model("base", seed=4), processor)
    for name, normalize in (("english", EnglishTextNormalizer()), ("basic", BasicTextNormalizer())):
        found = evaluate_accuracy(loaded, tmp_path / "some.jsonl.gz", EvaluateConfig(normalizer=name), 1)
        expected = {" ".join(normalize(text).split()) for text in texts.values()} - {""}
        assert set(found.transcripts.references) == expected
        assert found.error_rate.num_utterances == len(expected)
