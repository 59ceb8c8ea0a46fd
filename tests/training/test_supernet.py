"""Training of a supernet: who runs on a batch, what each term weighs, and a run that was stopped in the middle."""

from dataclasses import replace

import pytest
import torch

from bigfoot.compress.subnet import build_space
from bigfoot.compress.supernet import SubnetRunner
from bigfoot.data.batches import training_batches
from bigfoot.data.settings import DataConfig
from bigfoot.distill import CTCLoss, HiddenLoss, LogitKLLoss, LossesConfig
from bigfoot.distill.objective import Objective
from bigfoot.training.loop import Trainer, train
from bigfoot.training.run import TrainingRun
from bigfoot.training.supernet import SUBNETS, SupernetObjective, WholeWeights
from bigfoot.training.supernet_settings import SupernetConfig

LOSSES = LossesConfig(LogitKLLoss(1.0), HiddenLoss(2.0), ctc=CTCLoss(0.5))
WHOLE = {"depth": [1.0], "width": [1.0], "heads": [1.0], "feed_forward": [1.0], "conv": [1.0]}
TRAINED = {"max_steps": 6, "warmup_steps": 1, "eval_every": 6, "checkpoint_every": 2, "learning_rate": 2e-3}


@pytest.fixture
def make(build_model, small_digits, processor):
    def make(folder, **changes):
        config = SupernetConfig(**(TRAINED | {"losses": LOSSES} | changes))
        student = build_model("base", seed=2, num_hidden_layers=2, hidden_dropout=0.1)
        space = build_space(student.config, config.shares, config.depth, config.bits)
        objective = SupernetObjective(config, space, student, build_model("base", seed=1, hidden_size=48), seed=4)
        return objective, TrainingRun(
            name="supernet", config=config, data=DataConfig(batch_seconds=6.0, num_buckets=2), processor=processor,
            manifests=small_digits.manifests, folder=folder, seed=11, fingerprint="one", hooks=[WholeWeights()],
        )  # fmt: skip

    return make


@pytest.fixture(scope="module")
def batch(small_digits, processor):
    data = DataConfig(batch_seconds=6.0, num_buckets=2)
    return next(training_batches(small_digits.manifests["train"], processor, data, 3))


def test_where_nothing_varies_it_is_plain_distillation(make, batch, tmp_path):
    objective, _ = make(tmp_path, random_subnets=0, **WHOLE)
    plain = Objective(LOSSES, objective.student, objective.teachers[0])
    plain.terms.load_state_dict(objective.terms.state_dict())
    objective.eval(), plain.eval()
    found, expected = objective(batch, {}), plain(batch, {})
    assert objective.weights == plain.weights and found.keys() == expected.keys()
    assert all(torch.equal(found[name].total, expected[name].total) for name in found)


def test_terms_are_those_of_each_subnet_by_itself(make, batch, tmp_path):
    """The mean over smallest and random ones, each computed as a student of its own; every one weighs alike."""
    objective, _ = make(tmp_path, random_subnets=2)
    objective.eval()
    drawn, found = objective.draw_subnets(batch), objective(batch, {})
    assert drawn == objective.draw_subnets(batch) and len(drawn) == 3
    runner, totals = SubnetRunner(objective.student), []
    for subnet in drawn:
        given = objective.find_arguments(batch, {})
        output = runner.run(subnet, batch.input_values, batch.attention_mask, **given)
        inputs = objective.ask_teacher(runner.as_supernet(output, subnet), batch, {})
        totals.append(objective.compare(inputs, ["logit_kl", "ctc", "hidden"]))
    for name in ("logit_kl", "ctc", "hidden"):
        mean = torch.stack([each[name].total for each in totals]).mean()
        torch.testing.assert_close(found[f"{SUBNETS}{name}"].total, mean)
        weight = LOSSES.hidden.weight if name == "hidden" else getattr(LOSSES, name).weight
        assert objective.weights[name] == pytest.approx(weight / 4)
        assert objective.weights[f"{SUBNETS}{name}"] == pytest.approx(weight * 3 / 4)
    assert objective.count_units(batch).keys() == objective.weights.keys() == found.keys()


def test_subnets_learn_from_the_largest_where_asked_for(make, batch, tmp_path):
    """In-place distillation: where the largest is all there is, its subnets have nothing to learn of its posteriors."""
    objective, _ = make(tmp_path, subnets_learn_from="largest", random_subnets=1, **WHOLE)
    objective.eval()
    found = objective(batch, {})
    assert found[f"{SUBNETS}logit_kl"].total.abs() < 1e-4 < found["logit_kl"].total
    torch.testing.assert_close(found[f"{SUBNETS}hidden"].total, found["hidden"].total)


@pytest.mark.slow
def test_all_of_them_learn(make, batch, tmp_path):
    objective, run = make(tmp_path, bits=[8, 32], max_steps=12, eval_every=12, checkpoint_every=12)
    objective.eval()
    before = objective(batch, {})
    train(objective, run)
    objective.eval()
    after = objective(batch, {})
    hidden = f"{SUBNETS}hidden"
    assert after[hidden].total < before[hidden].total and after["hidden"].total < before["hidden"].total


@pytest.mark.slow
def test_stopped_in_the_middle_it_goes_on_to_the_same_bits(make, tmp_path, monkeypatch):
    whole, run = make(tmp_path / "whole")
    train(whole, run)
    torch.manual_seed(99)
    after = Trainer._after_step

    def die(self, *arguments):
        after(self, *arguments)
        if self.progress.step == 3:
            raise KeyboardInterrupt

    stopped, run = make(tmp_path / "stopped")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Trainer, "_after_step", die)
        train(stopped, run)
    again, run = make(tmp_path / "stopped")
    train(again, run)
    one, two = whole.state_dict(), again.state_dict()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
    start, _ = make(tmp_path / "other")
    assert any(not torch.equal(tensor, start.state_dict()[name]) for name, tensor in one.items())


def test_other_batches_have_other_subnets(make, batch, tmp_path):
    objective, _ = make(tmp_path)
    other = replace(batch, ids=[f"other-{name}" for name in batch.ids])
    assert objective.draw_subnets(batch)[0] == objective.draw_subnets(other)[0] != objective.draw_subnets(batch)[1]
    assert objective.draw_subnets(batch)[1] != objective.draw_subnets(other)[1]
