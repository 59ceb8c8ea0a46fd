"""``recipes/distill.py`` from top to bottom, at small settings."""

import json
import subprocess
import sys
from pathlib import Path

import bigfoot

ROOT = Path(__file__).resolve().parent.parent


def run(*arguments):
    command = [sys.executable, str(ROOT / "recipes" / "distill.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT, check=False)


def test_help():
    done = run("--help")
    assert done.returncode == 0 and "--teacher" in done.stdout


def test_a_student_is_cut_trained_evaluated_and_saved(tmp_path):
    done = run("--out", str(tmp_path / "out"), "--utterances", "16", "--steps", "3", "--layers", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    student = bigfoot.load_model(tmp_path / "out" / "model")
    assert student.model.config.num_hidden_layers == 3 and set(student.model.config.groups_of_convs) == {1, 2}
    assert [entry["step"] for entry in student.history[-3:]] == ["depth", "conv_groups", "distill"]
    first = bigfoot.compress("tiny_teacher", [bigfoot.compress.Depth(3)]).model
    assert not first.head.weight.equal(student.model.head.weight)
    assert json.loads((tmp_path / "out" / "data" / "prepared.json").read_text())
