"""Distillation with gates: what is trained, what is saved, and a run that was stopped in the middle."""

import pytest
import torch

from bigfoot.compress.units import Place
from bigfoot.data.settings import DataConfig
from bigfoot.distill import HiddenLoss, LogitKLLoss, LossesConfig
from bigfoot.formats.folder import load_model
from bigfoot.training.distilling import GatesConfig
from bigfoot.training.gated import SPARSITY, GatedObjective, GatesHook
from bigfoot.training.loop import Trainer, train
from bigfoot.training.run import TrainingRun
from tests.refusals import names

LOSSES = LossesConfig(LogitKLLoss(1.0), HiddenLoss(1.0))


@pytest.fixture
def make(build_model, small_digits, processor):
    def make(folder, **changes):
        settings = {
            "max_steps": 8, "warmup_steps": 1, "eval_every": 4, "checkpoint_every": 3, "log_every": 1,
            "learning_rate": 2e-3, "sparsity": 0.3, "sparsity_warmup_steps": 4, "losses": LOSSES,
            "learning_rate_factors": {"gates": 500.0}, "schedule": "constant", "max_grad_norm": 100.0,
        }  # fmt: skip
        config = GatesConfig(**(settings | changes))
        dropout = {"hidden_dropout": 0.1, "attention_dropout": 0.1}
        student = build_model("base", seed=2, num_hidden_layers=2, **dropout)
        objective = GatedObjective(config, student, build_model("base", seed=1), seed=4)
        data = DataConfig(batch_seconds=6.0, num_buckets=2)
        return objective, TrainingRun(
            name="gates", config=config, data=data, processor=processor, manifests=small_digits.manifests,
            folder=folder, seed=11, fingerprint="one", hooks=[GatesHook(objective)],
        )  # fmt: skip

    return make


@pytest.mark.slow
def test_what_is_saved_is_cut_and_the_last(make, tmp_path):
    objective, run = make(tmp_path)
    began = [alpha.detach().clone() for alpha in objective.gates.log_alphas]
    result = train(objective, run)
    moved = zip(began, objective.gates.log_alphas, strict=True)
    assert all(not torch.equal(before, after) for before, after in moved)
    assert objective.gates.multipliers.abs().min() > 0 and int(objective.gates.steps_done) == 8
    assert all(SPARSITY in record for record in result.records if "loss" in record)
    assert result.best_step == 8
    best, expected = load_model(result.best).model, objective.deployed()
    size = objective.gates.measure_size()
    assert sum(p.numel() for p in best.parameters()) == size.after
    assert all(torch.equal(tensor, expected.state_dict()[name]) for name, tensor in best.state_dict().items())
    assert names(objective.describe(), f"{size.after:,}", f"{size.before:,}")
    assert names(objective.describe(), "30.0%")


def test_blocks_that_go_are_named(make, tmp_path):
    objective, _ = make(tmp_path, parts=["heads", "blocks"])
    assert "without" not in objective.describe()
    with torch.no_grad():
        for place, alpha in objective.gates._by_place():
            alpha.fill_(-9.0 if place == Place("feed_forward_block", 1) else 9.0)
    assert names(objective.describe(), "30.0%", "without feed_forward_block", "layer 1")


@pytest.mark.slow
def test_more_is_cut_where_more_is_asked_for(make, tmp_path):
    left = []
    for sparsity in (0.0, 0.6):
        objective, run = make(tmp_path / str(sparsity), sparsity=sparsity, max_steps=40, sparsity_warmup_steps=5)
        train(objective, run)
        left.append(objective.gates.measure_size())
    assert left[0].after > 0.95 * left[0].before and left[1].after < 0.8 * left[1].before
    assert left[1].expected < 0.7 * left[1].before


@pytest.mark.slow
@pytest.mark.parametrize("stop", [4, 7])
def test_stopped_in_the_middle_it_goes_on_to_the_same_bits(make, tmp_path, stop, monkeypatch):
    whole, run = make(tmp_path / "whole")
    train(whole, run)
    torch.manual_seed(99)
    after = Trainer._after_step

    def die(self, *arguments):
        after(self, *arguments)
        if self.progress.step == stop:
            raise KeyboardInterrupt

    stopped, run = make(tmp_path / "stopped")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Trainer, "_after_step", die)
        train(stopped, run)
    again, run = make(tmp_path / "stopped")
    train(again, run)
    one, two = whole.state_dict(), again.state_dict()
    assert one.keys() == two.keys() and any("log_alphas" in name for name in one)
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
    best = [load_model(tmp_path / name / "best").model.state_dict() for name in ("whole", "stopped")]
    assert all(torch.equal(tensor, best[1][name]) for name, tensor in best[0].items())


def test_a_run_that_prunes_nothing_names_what_to_change(make, tmp_path):
    objective, _ = make(tmp_path)
    causes = ("gates.gate_learning_rate", "gates.max_steps", "gates.sparsity_warmup_steps")
    assert all(cause in objective.describe() for cause in causes)
    with torch.no_grad():
        next(iter(objective.gates.log_alphas)).fill_(-9.0)
    assert not any(cause in objective.describe() for cause in causes)
