"""A loss of a user's own, as the documentation shows it: one new file, and a name in the configuration."""

import sys
from pathlib import Path

import pytest
import torch

from bigfoot.data.batches import Batch
from bigfoot.distill.losses import frame_distance
from bigfoot.distill.objective import Objective, objective_problems
from bigfoot.distill.registry import REGISTERED
from bigfoot.pipeline import run_pipeline
from bigfoot.pipeline.settings import load_config
from tests.pages import DOCS, write_files_of

TINY = [
    "threads=1", "trackers=[]", "data.num_train=12", "data.num_dev=2", "data.num_test=3", "data.max_digits=2",
    "distill.max_steps=3", "distill.log_every=1", "evaluate.speed_rounds=1", "evaluate.speed_seconds=1",
    "evaluate.bootstrap_samples=10",
]  # fmt: skip


@pytest.fixture
def settings(narrow_teacher):
    return [*TINY, f"teacher.path={narrow_teacher}", "student.num_hidden_layers=2"]


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A folder with the files of the page; what it registers is forgotten afterwards."""
    monkeypatch.setattr(REGISTERED, "_entries", dict(REGISTERED._entries))
    monkeypatch.setattr(REGISTERED, "_origins", dict(REGISTERED._origins))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    assert write_files_of(DOCS / "how-to" / "own-loss.md", tmp_path) == ["my_losses.py", "my_config.yaml"]
    yield tmp_path
    sys.modules.pop("my_losses", None)


def steps_of(config):
    """When each step of the run was made."""
    return {file.parent.name: file.stat().st_mtime_ns for file in Path(config.run_dir).glob("*/facts.json")}


@pytest.mark.slow
def test_it_is_trained_and_taken_up_again_until_it_changes(page, settings, quick_report):
    config = load_config("my_config.yaml", settings)
    report = run_pipeline(config)
    curve = [record["motion"] for record in [*report.losses.values()][-1] if "motion" in record]
    assert len(curve) == 3 and all(0 < value < 100 for value in curve)
    first = steps_of(config)
    run_pipeline(load_config(page / "runs/motion/config.yaml"))
    assert steps_of(config) == first
    file = page / "my_losses.py"
    file.write_text(file.read_text().replace(".square()", ".abs()"))
    run_pipeline(load_config("my_config.yaml", settings), until="distill")
    assert steps_of(config)["distill"] > first["distill"]


@torch.no_grad()
def test_its_value_is_that_by_hand(page, build_model, speech):
    losses = load_config("my_config.yaml").distill.losses
    losses.logit_kl.weight = 0.0
    student, teacher = (build_model("base", seed=seed, num_hidden_layers=2).eval() for seed in (1, 2))
    waves = [speech[0][0, :9000], speech[1][0, :16_000]]
    mask = torch.stack([torch.arange(16_000) < len(wave) for wave in waves])
    values = torch.stack([torch.nn.functional.pad(wave, (0, 16_000 - len(wave))) for wave in waves])
    batch = Batch(values, mask, None, ["a", "b"], ["", ""], ["s", "s"])
    found = Objective(losses, student, teacher).eval()(batch, {})["motion"]
    expected = 0.0
    for wave in waves:
        here, there = (model(wave[None], output_hidden_states=True).hidden_states[-1] for model in (student, teacher))
        here, there = here[:, 2:] - here[:, :-2], there[:, 2:] - there[:, :-2]
        expected += float(frame_distance(here, there, torch.ones(here.shape[:2], dtype=torch.bool), "mse").total)
    assert float(found.total) == pytest.approx(expected, rel=1e-4)
    narrow = build_model("base", seed=3, hidden_size=16, num_attention_heads=2)
    assert [(p.key, p.code) for p in objective_problems(losses, narrow.config, teacher.config)] == [
        ("distill.losses.motion", "other_width")
    ]
