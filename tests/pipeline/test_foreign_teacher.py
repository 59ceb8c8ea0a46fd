"""A run whose teacher is a conformer of other frames and tokens: cached and not, killed and resumed, by texts alone."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from bigfoot.pipeline import run_pipeline
from bigfoot.training.loop import Trainer
from tests.codes import codes
from tests.decoding.test_seq2seq import save_seq2seq
from tests.formats.graphs import draw_weights, save_graph, write_tokens
from tests.formats.test_foreign_ctc import LETTERS, save_foreign
from tests.pipeline.problems import problems_of

PIECES = ("<unk>", "\u2581", "on", "e", "n", "o", "t", "w")
LOSSES = ("distill.losses.hidden.weight=1", "distill.losses.nbest.weight=0.1", "distill.losses.nbest.beam_size=4")


@pytest.fixture(scope="module")
def foreign(made_once):
    """Folders of random conformers, one of letters and one with pieces of words, and of a graph of 40 ms frames."""

    def make(folder):
        for name, letters in (("letters", [*LETTERS, "t", "w", "r"]), ("pieces", PIECES)):
            save_foreign(folder / name, "parakeet", letters, confidence=4.0)
        save_graph(folder / "graph" / "model.onnx", draw_weights(kernel=800), stride=640, gain=40.0)
        write_tokens(folder / "graph")

    return made_once("foreign", make)


@pytest.fixture
def overrides(small_run, foreign, narrow_teacher):
    """``overrides(run_dir, *more, teacher="letters")``."""

    def build(run_dir, *more, teacher="letters"):
        own = (f"teacher.path={foreign / teacher}", f"student.path={narrow_teacher}", "steps=[student,distill]")
        return small_run(run_dir, *own, *more)

    return build


@pytest.fixture
def config(overrides):
    from bigfoot.pipeline.settings import load_config

    return lambda run_dir, *more, **which: load_config(None, overrides(run_dir, *more, **which))


def losses_of(folder):
    records = json.loads((folder / "distill/facts.json").read_text())["records"]
    return [record["loss"] for record in records if "loss" in record]


@pytest.fixture(scope="module")
def live(small_run, foreign, narrow_teacher, tmp_path_factory):
    """Folder of a run whose teacher is at work."""
    from bigfoot.pipeline.settings import load_config

    folder = tmp_path_factory.mktemp("live")
    own = (f"teacher.path={foreign / 'letters'}", f"student.path={narrow_teacher}", "steps=[student,distill]")
    run_pipeline(load_config(None, small_run(folder, *own, *LOSSES)), until="distill")
    return folder


@pytest.mark.slow
def test_cached_targets_are_those_of_the_teacher_at_work(config, live, tmp_path):
    run_pipeline(config(tmp_path / "cached", *LOSSES, f"distill.cache={tmp_path / 'cache'}"), until="distill")
    assert losses_of(tmp_path / "cached") == pytest.approx(losses_of(live), rel=2e-3)


@pytest.mark.slow
def test_stopped_in_the_middle_it_ends_in_the_same_bits(config, live, tmp_path, monkeypatch):
    ours = Trainer._step

    def stopping(self, stream):
        if self.progress.step == 3:
            raise KeyboardInterrupt
        return ours(self, stream)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            run_pipeline(config(tmp_path / "stopped", *LOSSES), until="distill")
    # What the teacher wrote before is not written again.
    monkeypatch.setattr("bigfoot.pipeline.hypotheses.find_nbest", None)
    run_pipeline(config(tmp_path / "stopped", *LOSSES), until="distill")
    whole, stopped = (load_file(path / "distill/model/model.safetensors") for path in (live, tmp_path / "stopped"))
    assert [name for name in whole if not torch.equal(whole[name], stopped[name])] == []


@pytest.mark.slow
def test_pieces_of_words_teach_by_their_texts(config, overrides, narrow_teacher, tmp_path):
    by_texts = ("distill.losses.logit_kl.weight=0", "distill.losses.nbest.weight=1", "data.transcripts=none")
    report = run_pipeline(config(tmp_path / "run", *by_texts, "measure.speed=false", teacher="pieces"))
    assert [row.name for row in report.rows] == ["teacher", "student_init", "distill"]
    assert all(row.wer is not None for row in report.rows) and report.rows[1].wer_difference is not None
    assert report.rows[0].batch_invariant and report.rows[0].macs_by_part["transformer"] > 1e5
    assert narrow_teacher.name in report.rows[1].protocol
    posteriors = overrides(tmp_path / "other", teacher="pieces")
    assert codes(problems_of(posteriors)) == [("distill.losses.logit_kl", "other_vocabulary")]


@pytest.mark.slow
def test_a_graph_teaches_by_its_posteriors_texts_and_labels(config, overrides, tmp_path):
    by_all = ("distill.losses.nbest.weight=0.1", "distill.losses.ctc.weight=0.1", "data.transcripts=none")
    cached = (*by_all, f"distill.cache={tmp_path / 'cache'}", "measure.speed=false")
    report = run_pipeline(config(tmp_path / "run", *cached, teacher="graph"))
    teacher, start, student = report.rows
    assert student.wer is not None and teacher.batch_invariant and not teacher.macs_per_second
    assert teacher.num_params == 7 * 800 and teacher.size_bytes < 40_000 and start.macs_per_second
    assert any("preprocessor_config.json" in note for note in report.notes)
    run_pipeline(config(tmp_path / "live", *by_all, teacher="graph"), until="distill")
    assert losses_of(tmp_path / "run") == pytest.approx(losses_of(tmp_path / "live"), rel=2e-3)
    states = overrides(tmp_path / "other", "distill.losses.hidden.weight=1", teacher="graph")
    assert codes(problems_of(states)) == [("distill.losses.hidden", "no_such_output")]


@pytest.mark.slow
def test_a_sequence_to_sequence_model_teaches_by_its_transcripts(small_run, narrow_teacher, tmp_path):
    from bigfoot.pipeline.settings import load_config

    save_seq2seq(tmp_path / "moonshine", "moonshine", most=8)
    own = (f"teacher.path={tmp_path / 'moonshine'}", f"student.path={narrow_teacher}", "steps=[student,distill]")
    texts = ("distill.losses.logit_kl.weight=0", "distill.losses.ctc.weight=1", "data.transcripts=none")
    report = run_pipeline(load_config(None, small_run(tmp_path / "run", *own, *texts, "measure.speed=false")))
    teacher, _, student = report.rows
    assert teacher.wer is None and teacher.macs_per_second > 1e5 and student.wer is not None
    facts = json.loads((tmp_path / "run/data/labelled/labels.json").read_text())["splits"]["train"]
    assert facts["num_labelled"] + sum(facts["hallucinations"].values()) == facts["num_utterances"] > 0
    assert facts["num_labelled"] > 0
    posteriors = small_run(tmp_path / "other", *own)
    found = codes(problems_of(posteriors))
    assert found and {key for key, _ in found} == {"distill.losses.logit_kl"}


def test_a_teacher_of_another_rate_teaches_by_texts_alone(small_run, narrow_teacher, edit_json, tmp_path):
    telephone = shutil.copytree(narrow_teacher, tmp_path / "telephone")
    edit_json(telephone / "preprocessor_config.json", sampling_rate=8000)
    (telephone / "processor_config.json").unlink()
    own = small_run(tmp_path / "run", f"teacher.path={telephone}", f"student.path={narrow_teacher}")
    assert codes(problems_of(own)) == [("distill.losses", "other_rate")]
    texts = ("distill.losses.logit_kl.weight=0", "distill.losses.nbest.weight=1", "steps=[student,distill]")
    assert problems_of([*own, *texts]) == []


def test_what_a_foreign_teacher_lacks(overrides, foreign, tmp_path):
    attention = overrides(tmp_path, "distill.losses.attention.weight=1")
    assert codes(problems_of(attention)) == [("distill.losses.attention", "no_such_output")]
    alone = [each for each in overrides(tmp_path) if not each.startswith("student.path")]
    assert codes(problems_of(alone)) == [("teacher.path", "other_encoder")]
    wordless = tmp_path / "wordless"
    shutil.copytree(foreign / "letters", wordless, ignore=shutil.ignore_patterns("token*"))
    own = [each for each in overrides(tmp_path) if not each.startswith("teacher.path")]
    assert codes(problems_of([*own, f"teacher.path={wordless}"])) == [("distill.losses.logit_kl", "other_vocabulary")]
    narrow_beam = overrides(tmp_path, "distill.losses.nbest={weight: 1, size: 8, beam_size: 4}")
    assert codes(problems_of(narrow_beam)) == [("distill.losses.nbest.beam_size", "below_minimum")]
