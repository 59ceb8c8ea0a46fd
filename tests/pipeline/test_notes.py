"""What goes wrong in a run stands in its report, however often the run is taken up again."""

import json
import shutil

import pytest

from bigfoot.distill.objective import Objective
from bigfoot.errors import TrainingError
from bigfoot.pipeline import run_pipeline
from bigfoot.pipeline.rows import Findings
from tests.refusals import names, refused

STILL = "{feature_encoder: 0, feature_projection: 0, encoder: 0, lm_head: 0}"


@pytest.fixture
def broken_once(monkeypatch):
    """The first batch of every training gives a loss that is no number."""
    good = Objective.forward

    def forward(self, batch, masks):
        factor = float("nan") if batch.position.batch == 1 and batch.position.epoch == 0 else 1.0
        return {name: term._replace(total=term.total * factor) for name, term in good(self, batch, masks).items()}

    monkeypatch.setattr(Objective, "forward", forward)


@pytest.fixture
def no_rows(monkeypatch):
    """Notes need no figures, which take their time."""
    monkeypatch.setattr("bigfoot.pipeline.run.build_rows", lambda *_arguments: Findings([], []))


@pytest.mark.slow
def test_every_guard_is_named_in_log_and_report(small_config, no_rows, broken_once, narrow_teacher, tmp_path, capsys):
    teacher = shutil.copytree(narrow_teacher, tmp_path / "without_extractor")
    for name in ("preprocessor_config.json", "processor_config.json"):
        (teacher / name).unlink()
    settings = (f"distill.learning_rate_factors={STILL}", "control=ctc_only", f"teacher.path={teacher}")
    report = run_pipeline(small_config(tmp_path / "run", *settings))
    # The warning came when the folder was read first.
    assert str(teacher) not in capsys.readouterr().out
    kinds = {
        ("preprocessor_config.json", "processor_config.json"): [str(teacher)],
        ("CER", "bigfoot transcribe"): ["distill"],
        ("learning_rate_factors",): ["distill", "ctc_only_distill"],
        ("step 1", "loss term logit_kl"): ["distill"],
        ("step 1", "loss term ctc"): ["finetune", "ctc_only_distill", "ctc_only_finetune"],
    }
    found = {kind: [note.partition(": ")[0] for note in report.notes if names(note, *kind)] for kind in kinds}
    assert found == kinds and len(report.notes) == 8
    assert all("Try " in note or "Check " in note for note in report.notes)
    page, log = (tmp_path / "run" / "report" / "report.md").read_text(), (tmp_path / "run" / "log.txt").read_text()
    assert all(note in page and note.partition(": ")[2] in log for note in report.notes)
    assert len(list((tmp_path / "run" / "distill" / "bad_batches").glob("*.json"))) == 1
    assert json.loads((tmp_path / "run" / "distill" / "facts.json").read_text())["notes"] == [
        note.partition(": ")[2] for note in report.notes if note.startswith("distill: ")
    ]
    # Steps that are skipped because they are done have not forgotten.
    again = run_pipeline(small_config(tmp_path / "run", *settings, "evaluate.splits=[dev]"))
    assert again.notes == report.notes


@pytest.mark.slow
def test_a_run_that_stops_says_where_its_batches_are(small_config, broken_once, tmp_path):
    with refused(TrainingError, "step 1", "max_bad_steps=0", tmp_path / "distill" / "bad_batches"):
        run_pipeline(small_config(tmp_path, "distill.max_bad_steps=0"))


@pytest.mark.slow
def test_the_teachers_own_transcripts_are_no_proof(small_config, monkeypatch, tmp_path):
    def refuse(*_arguments):
        raise AssertionError("the teacher was judged by its own transcripts")

    monkeypatch.setattr("bigfoot.pipeline.steps.distill.evaluate_accuracy", refuse)
    run_pipeline(small_config(tmp_path, "data.transcripts=none"), until="distill")


@pytest.mark.slow
def test_a_teacher_that_transcribes_is_not_warned_of(small_config, tmp_path):
    settings = ("teacher.path=tiny_teacher", "distill.max_steps=1")
    run_pipeline(small_config(tmp_path, *settings), until="distill")
    assert json.loads((tmp_path / "distill" / "facts.json").read_text())["notes"] == []
