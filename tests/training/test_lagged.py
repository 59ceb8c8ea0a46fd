"""Steps that wait for no device: nothing is read from it between two lines of the log."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bigfoot.data.batches import Batch
from bigfoot.distill import HiddenLoss, LogitKLLoss, LossesConfig
from bigfoot.distill.objective import Objective
from bigfoot.models.kernels import plain_kernels
from bigfoot.training.distilling import GatesConfig
from bigfoot.training.gated import GatedObjective
from bigfoot.training.loop import Trainer, train
from bigfoot.training.transfer import Transfer
from tests.training.test_loop import at, break_losses, make_objective, make_run, no_gradient, no_number  # noqa: F401 - fixtures

READS = (
    torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.is_nonzero.default,
    torch.ops.aten.masked_select.default,
)  # fmt: skip


class CountedReads(TorchDispatchMode):
    """Follows what would be on a device, and counts what would wait for it; it stands in for a GPU.

    Weights, batches and masks that were moved are marked, and so is all that is computed from them.
    """

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, call, types, args=(), kwargs=None):
        flat, _ = torch.utils._pytree.tree_flatten((args, kwargs))
        there = any(getattr(each, "on_device", False) for each in flat if isinstance(each, torch.Tensor))
        if there and call in READS:
            self.found.append(str(call))
        given = call(*args, **(kwargs or {}))
        if there:
            torch.utils._pytree.tree_map_only(torch.Tensor, self.mark, given)
        return given

    @staticmethod
    def mark(tensor):
        tensor.on_device = True
        return tensor


@pytest.fixture
def reads(monkeypatch):
    counted = CountedReads()
    to, move = Batch.to, Transfer.move
    monkeypatch.setattr(Batch, "to", lambda self, device: to(self, device)._each(lambda x: counted.mark(x.clone())))
    monkeypatch.setattr(Transfer, "move", lambda self, x: counted.mark(move(self, x).clone()))
    return counted


def distil(build_model, structure):
    losses = LossesConfig(LogitKLLoss(0.7), HiddenLoss(0.3))
    return Objective(losses, build_model(structure, num_hidden_layers=2), build_model(structure, seed=1))


def gate(build_model, _):
    config = GatesConfig(losses=LossesConfig(LogitKLLoss(1.0)), sparsity_warmup_steps=3)
    return GatedObjective(config, build_model("base"), build_model("base", seed=1), 3)


@pytest.mark.slow
@pytest.mark.parametrize(("build", "structure"), [(distil, "base"), (distil, "wavlm-large"), (gate, "base")])
def test_nothing_is_read_between_two_lines_of_the_log(build, structure, build_model, make_run, reads):  # noqa: F811
    objective = build(build_model, structure)
    trainer = Trainer(objective, make_run(max_steps=9, log_every=4, eval_every=9, checkpoint_every=9, masks=True))
    trainer.lags = True
    for tensor in [*objective.parameters(), *objective.buffers(), *objective.teachers[0].parameters()]:
        reads.mark(tensor)
    trainer.step_model.train()
    stream, counts = trainer._stream(), []
    with plain_kernels(), reads:
        for _ in range(5):
            reads.found.clear()
            trainer._step(stream)
            counts.append(len(reads.found))
    # The first step is asked which parts the loss reaches; the fourth is of the log.
    assert counts[1:3] == [0, 0] and counts[4] == 0
    assert trainer.unread.newest["loss"] > 0


def test_the_stand_in_finds_a_read(reads):
    weight = reads.mark(torch.ones(2))
    with reads:
        float(torch.ones(2).sum())
        assert not reads.found
        float((weight * 2).sum())
        weight[weight > 0]
    assert len(reads.found) >= 1


@pytest.mark.slow
def test_a_training_that_lags_is_the_same_to_the_bit(make_objective, make_run, tmp_path, monkeypatch):  # noqa: F811
    def run(folder, lags):
        made = Trainer.__init__
        with monkeypatch.context() as patched:
            patched.setattr(Trainer, "__init__", lambda self, *a: (made(self, *a), setattr(self, "lags", lags))[0])
            objective = make_objective()
            result = train(objective, make_run(folder=tmp_path / folder, log_every=2, max_steps=5, masks=True))
        return objective.student.state_dict(), [r for r in result.records if "loss" in r]

    (one, lines), (other, expected) = run("a", lags=True), run("b", lags=False)
    assert lines == expected and len(lines) == 3
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.slow
@pytest.mark.parametrize("how", [no_number, no_gradient])
def test_a_broken_step_leaves_the_weights_and_is_made_up_for(how, make_objective, make_run, monkeypatch):  # noqa: F811
    objective = make_objective()
    trainer = Trainer(objective, make_run(max_steps=6, log_every=3, eval_every=6, checkpoint_every=6))
    trainer.lags = True
    trainer.step_model.train()
    break_losses(monkeypatch, at(2), how)
    stream = trainer._stream()
    trainer._step(stream)
    before = {name: tensor.clone() for name, tensor in objective.student.state_dict().items()}
    trainer._step(stream)
    assert all(torch.equal(tensor, before[name]) for name, tensor in objective.student.state_dict().items())
    assert trainer.progress.step == 2 and not trainer.progress.left_out
    trainer._step(stream)
    assert trainer.progress.step == 2 and trainer.progress.left_out == [2]
    assert trainer.scheduler.scheduler.last_epoch == 2
    assert any(not torch.equal(tensor, before[name]) for name, tensor in objective.student.state_dict().items())
