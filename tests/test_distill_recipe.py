"""``recipes/distill.py`` from top to bottom, at small settings."""

import json
import runpy
import sys
from functools import partial
from pathlib import Path

import pytest

import bigfoot
from bigfoot.data.settings import DataConfig

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "distill.py"


@pytest.fixture
def run(monkeypatch):
    """Run it in this process, on a few utterances of dev and test."""
    monkeypatch.setattr("bigfoot.data.settings.DataConfig", partial(DataConfig, num_dev=2, num_test=3))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(RECIPE), *arguments])
        runpy.run_path(str(RECIPE), run_name="__main__")

    return run


def test_help(run, capsys):
    with pytest.raises(SystemExit) as end:
        run("--help")
    assert end.value.code == 0 and "--teacher" in capsys.readouterr().out


@pytest.mark.slow
def test_a_student_is_cut_trained_evaluated_and_saved(run, tmp_path):
    run("--out", str(tmp_path / "out"), "--utterances", "8", "--steps", "3", "--layers", "3")
    student = bigfoot.load_model(tmp_path / "out" / "model")
    assert student.model.config.num_hidden_layers == 3 and set(student.model.config.groups_of_convs) == {1, 2}
    assert [entry["step"] for entry in student.history[-3:]] == ["depth", "conv_groups", "distill"]
    first = bigfoot.compress("tiny_teacher", [bigfoot.compress.Depth(3)]).model
    assert not first.head.weight.equal(student.model.head.weight)
    assert json.loads((tmp_path / "out" / "data" / "prepared.json").read_text())
