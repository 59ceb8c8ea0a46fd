"""Facts of steps and reports count only where the files that they vouch for are as they were written."""

import json
import os
import shutil

import pytest

from bigfoot.formats.folder import load_model, save_model
from bigfoot.pipeline.facts import StepResult, read_facts, write_facts
from bigfoot.pipeline.vouching import read_report, write_report
from bigfoot.report.rows import Report, Row

INPUTS = {"data": "1", "its settings": "2"}
REPORT = Report(title="demo", rows=[Row("teacher", "teacher", "test", wer=0.25)])


@pytest.fixture
def step(tmp_path, narrow_teacher):
    """A step's folder, with its model and facts."""
    loaded = load_model(narrow_teacher)
    save_model(loaded.model, loaded.processor, tmp_path / "distill" / "model")
    records = [{"step": 1, "loss": 0.5}]
    write_facts(tmp_path / "distill", StepResult("distil", tmp_path / "distill" / "model", "abc", INPUTS, 2.5, ["cut"],
                                                 records, 1, ["slow"]))  # fmt: skip
    return tmp_path / "distill"


def spoil(file, how):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    {"cut": lambda: os.truncate(file, len(content) // 2), "flipped": lambda: file.write_bytes(content),
     "empty": lambda: os.truncate(file, 0), "gone": file.unlink, "binary": lambda: file.write_bytes(b"\xff\xfe\0"),
     "of a later version": lambda: file.write_text(json.dumps({**json.loads(file.read_text()), "later": 1})),
     }[how]()  # fmt: skip


def test_facts_come_back_wherever_the_folder_lies(step, tmp_path):
    facts = read_facts(step, INPUTS)
    records = [{"step": 1, "loss": 0.5}]
    assert facts == StepResult("distil", step / "model", "abc", INPUTS, 2.5, ["cut"], records, 1, ["slow"])
    assert read_facts(step) == facts and read_facts(step, {**INPUTS, "data": "3"}) is None
    (step / "model" / "README.md").write_text("a card")
    assert read_facts(step) == facts
    copy = shutil.copytree(step, tmp_path / "copy")
    assert read_facts(copy, INPUTS).folder == copy / "model"


@pytest.mark.parametrize(
    ("name", "how"),
    [("facts.json", "cut"), ("facts.json", "empty"), ("facts.json", "binary"), ("facts.json", "flipped"),
     ("facts.json", "of a later version"), ("facts.json", "gone"), ("model/model.safetensors", "gone"),
     ("model/model.safetensors", "flipped"), ("model/model.safetensors", "cut"), ("model/config.json", "empty"),
     ("model/vocab.json", "gone")],
)  # fmt: skip
def test_damage_costs_the_step(name, how, step, caplog):
    spoil(step / name, how)
    assert read_facts(step, INPUTS) is None
    assert len(caplog.records) == (0 if (name, how) == ("facts.json", "gone") else 1)


@pytest.mark.parametrize("how", ["cut", "empty", "gone", "flipped", "binary"])
@pytest.mark.parametrize("name", ["report.json", "fingerprint"])
def test_a_damaged_report_does_not_count(name, how, tmp_path):
    write_report(REPORT, tmp_path, "abc")
    assert read_report(tmp_path, "abc") == REPORT and read_report(tmp_path, "other") is None
    spoil(tmp_path / name, how)
    assert read_report(tmp_path, "abc") is None


@pytest.mark.parametrize("name", ["report.md", "report.html", "report.csv", "wer_vs_size.png", "losses.png"])
def test_a_view_that_is_gone_is_written_again(name, tmp_path):
    write_report(REPORT, tmp_path, "abc")
    (tmp_path / name).unlink()
    assert read_report(tmp_path, "abc") == REPORT and (tmp_path / name).is_file()
    assert read_report(tmp_path, "abc") == REPORT
