"""Every method of configs/methods through ``recipes/compare_methods.py``, a few steps each."""

import csv
import json

import pytest
import torch

from bigfoot.models.ctc import BigfootForCTC
from bigfoot.study.plan import known_methods

BESIDE_THEIR_TEACHER = ("conv_groups_only", "lowrank", "dphubert", "dpwavlm")
"""Whose first loss is about what masks and dropout alone cost (0.2): in a few steps it can only stay there."""


@pytest.mark.slow
def test_smoke_every_method_learns_saves_reloads_and_has_its_row(start, tmp_path):
    done = start("recipes/compare_methods.py", "--smoke", "--jobs", "2", "--out", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["name"]: row for row in json.loads((tmp_path / "comparison.json").read_text())["rows"]}
    assert set(rows) == {"teacher", *known_methods()}
    table = (tmp_path / "comparison.md").read_text()
    with (tmp_path / "comparison.csv").open(newline="") as file:
        assert {line["name"] for line in csv.DictReader(file)} == set(rows)
    wave = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    for name in known_methods():
        row = rows[name]
        assert f"| {'control: ' + name.replace('_', ' ') if row['kind'] == 'control' else name} |" in table
        assert row["num_params"] <= rows["teacher"]["num_params"] and row["speedup"] > 0
        # The first training goes from what was cut; gates pay for sparsity, which rises meanwhile.
        training = next(label for label in row["losses"] if label != "gates")
        begin, end = row["losses"][training]
        assert end < (0.5 if name in BESIDE_THEIR_TEACHER else begin), f"{name}: {training} from {begin} to {end}"
        trial = json.loads((tmp_path / name / "seed_1" / "trial.json").read_text())
        model = BigfootForCTC.from_pretrained(trial["model"]).eval()
        model.save_pretrained(tmp_path / "again")
        again = BigfootForCTC.from_pretrained(tmp_path / "again").eval()
        with torch.no_grad():
            assert torch.equal(model(wave).logits, again(wave).logits), name


def test_wrong_names_stop_before_anything_runs(start, tmp_path):
    done = start("recipes/compare_methods.py", "--smoke", "--methods", "bigfood", "--out", tmp_path / "c")
    assert done.returncode != 0 and "error: " in done.stderr and "bigfood" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "c").exists()
