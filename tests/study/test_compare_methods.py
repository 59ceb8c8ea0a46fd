"""Every method of configs/methods a few steps, and ``recipes/compare_methods.py`` with some of them."""

import csv
import json
from dataclasses import replace

import pytest
import torch

from bigfoot.formats.folder import load_model
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.study.plan import known_methods, plan_runs, read_comparison
from bigfoot.study.trial import run_trial

BESIDE_THEIR_TEACHER = ("conv_groups_only", "lowrank", "dphubert", "dpwavlm")
"""Whose first loss is about what masks and dropout alone cost (0.2): in a few steps it can only stay there."""
TEACHER_PARAMS = 2_524_256


def assert_learned(name, losses):
    """The first training goes from what was cut; gates pay for sparsity, which rises meanwhile."""
    training = next(label for label in losses if label != "gates")
    begin, end = losses[training]
    assert end < (0.5 if name in BESIDE_THEIR_TEACHER else begin), f"{name}: {training} from {begin} to {end}"


@pytest.mark.slow
@pytest.mark.parametrize("name", known_methods())
def test_every_method_learns_saves_and_reloads(name, tmp_path):
    run = plan_runs(replace(read_comparison("compare/smoke.yaml"), methods=[name]), tmp_path)[-1]
    trial = run_trial(run.config, run.key, run.config_path)
    assert_learned(name, trial.losses)
    assert load_model(trial.model).history[-1]["step"] == run.config.steps[-1]
    model = BigfootForCTC.from_pretrained(trial.model).eval()
    assert trial.num_params == sum(each.numel() for each in model.parameters()) <= TEACHER_PARAMS
    model.save_pretrained(tmp_path / "again")
    again = BigfootForCTC.from_pretrained(tmp_path / "again").eval()
    wave = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model(wave).logits, again(wave).logits)


@pytest.mark.slow
def test_runs_become_rows_of_a_table(start, tmp_path):
    names = ("armhubert", "dphubert", "ctc_only")
    arguments = ("--smoke", "--methods", " ".join(names), "--jobs", "2", "--out", tmp_path)
    done = start("recipes/compare_methods.py", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["name"]: row for row in json.loads((tmp_path / "comparison.json").read_text())["rows"]}
    assert set(rows) == {"teacher", *names}
    table = (tmp_path / "comparison.md").read_text()
    with (tmp_path / "comparison.csv").open(newline="") as file:
        assert {line["name"] for line in csv.DictReader(file)} == set(rows)
    for name in names:
        row = rows[name]
        assert f"| {'control: ' + name.replace('_', ' ') if row['kind'] == 'control' else name} |" in table
        assert row["num_params"] <= rows["teacher"]["num_params"] and row["speedup"] > 0
        assert_learned(name, row["losses"])
        trial = json.loads((tmp_path / name / "seed_1" / "trial.json").read_text())
        assert BigfootForCTC.from_pretrained(trial["model"]).num_parameters() == row["num_params"]


def test_wrong_names_stop_before_anything_runs(start, tmp_path):
    done = start("recipes/compare_methods.py", "--smoke", "--methods", "bigfood", "--out", tmp_path / "c")
    assert done.returncode != 0 and "error: " in done.stderr and "bigfood" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "c").exists()
