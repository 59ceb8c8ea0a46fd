"""Every method of configs/methods a few steps, and ``recipes/compare_methods.py`` with some of them."""

import csv
import json
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bigfoot.formats.folder import load_model
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.study.plan import known_methods, plan_runs, read_comparison
from bigfoot.study.trial import run_trial
from tests.codes import refusing

MAIN = runpy.run_path(str(Path(__file__).resolve().parents[2] / "recipes" / "compare_methods.py"))["main"]
SHORT = ["data.num_train=2", "data.num_dev=1", "data.num_test=1", "data.max_digits=1", "finetune.max_steps=1"]
STEPS = 6
# Their steps, losses and shapes are those of another in the list, in other widths; test_plan.py has all.
ALIKE = {"armhubert_s", "dpwavlm", "fitw2v2", "starhubert_l"}
IN_PROCESSES = "ctc_only"
BESIDE_THEIR_TEACHER = ("conv_groups_only", "lowrank", "dphubert", "dpwavlm")
"""Whose first loss is about what masks and dropout alone cost (0.2): in a few steps it can only stay there."""
TEACHER_PARAMS = 2_524_256


def assert_learned(name, losses):
    """The first training goes from what was cut; gates pay for sparsity, which rises meanwhile."""
    training = next(label for label in losses if label != "gates")
    begin, end = losses[training]
    assert end < (0.5 if name in BESIDE_THEIR_TEACHER else begin), f"{name}: {training} from {begin} to {end}"


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """The folder of all runs here: what one test has run is done for the next."""
    return tmp_path_factory.mktemp("comparison")


def run_method(name, folder):
    wanted = replace(read_comparison("compare/smoke.yaml"), methods=[name], steps=STEPS)
    run = plan_runs(wanted, folder, SHORT)[-1]
    return run, run_trial(run.config, run.key, run.config_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in known_methods() if name not in {*ALIKE, IN_PROCESSES}])
def test_every_method_learns_saves_and_reloads(name, comparison, tmp_path):
    run, trial = run_method(name, comparison)
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
def test_runs_become_rows_of_a_table(comparison, capsys):
    """One method and the teacher in processes of their own; another is done already."""
    done, names = "lowrank", ("lowrank", IN_PROCESSES)
    run_method(done, comparison)
    before = (comparison / done / "seed_1" / "trial.json").stat().st_mtime_ns
    arguments = ("--smoke", "--methods", " ".join(names), "--jobs", "2", "--steps", str(STEPS))
    assert MAIN([*arguments, "--out", str(comparison), *SHORT]) == 0, capsys.readouterr()
    assert (comparison / done / "seed_1" / "trial.json").stat().st_mtime_ns == before
    rows = {row["name"]: row for row in json.loads((comparison / "comparison.json").read_text())["rows"]}
    assert set(rows) == {"teacher", *names}
    table = (comparison / "comparison.md").read_text()
    with (comparison / "comparison.csv").open(newline="") as file:
        assert {line["name"] for line in csv.DictReader(file)} == set(rows)
    for name in names:
        row = rows[name]
        assert f"| {'control: ' + name.replace('_', ' ') if row['kind'] == 'control' else name} |" in table
        assert row["num_params"] <= rows["teacher"]["num_params"] and row["speedup"] > 0
        assert_learned(name, row["losses"])
        trial = json.loads((comparison / name / "seed_1" / "trial.json").read_text())
        assert BigfootForCTC.from_pretrained(trial["model"]).num_parameters() == row["num_params"]


def test_wrong_names_stop_before_anything_runs(tmp_path):
    with refusing(("methods", "unknown_word")):
        MAIN(["--smoke", "--methods", "bigfood", "--out", str(tmp_path / "c")])
    assert not (tmp_path / "c").exists()
