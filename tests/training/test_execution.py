"""Trainings whose layers are compiled or computed again."""

import pytest
import torch

from bigfoot.errors import TrainingError
from bigfoot.formats.folder import load_model
from bigfoot.models.running import LayerRunner, recomputes
from bigfoot.training import execution
from bigfoot.training.execution import CompiledLayers, choose_compiled, find_missing_compiler, set_execution_
from bigfoot.training.growth import GroupGrowth
from bigfoot.training.loop import Trainer, train
from bigfoot.training.settings import TrainConfig
from tests.training.test_gated import make  # noqa: F401 - fixtures
from tests.training.test_loop import assert_equal, make_objective, make_run, weights  # noqa: F401 - fixtures

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def eager(monkeypatch):
    """Compile by a backend that needs no compiler."""
    made = CompiledLayers("eager", must=True)
    monkeypatch.setattr(execution, "choose_compiled", lambda config, *_: made if config.compile == "on" else None)


def test_when_layers_are_compiled(monkeypatch):
    monkeypatch.setattr(execution, "find_missing_compiler", lambda device: None)
    chosen = {
        (how, steps, device.type): choose_compiled(TrainConfig(compile=how, max_steps=steps), device, "t") is not None
        for how in ("auto", "off", "on") for steps in (10, 10_000) for device in (CPU, GPU)
    }  # fmt: skip
    wanted = {key for key, made in chosen.items() if made}
    always = {("on", steps, kind) for steps in (10, 10_000) for kind in ("cpu", "cuda")}
    assert wanted == {("auto", 10_000, "cuda")} | always


def test_a_machine_without_a_compiler(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(execution.shutil, "which", lambda name: None)
    assert find_missing_compiler(CPU) is not None
    with pytest.raises(TrainingError):
        choose_compiled(TrainConfig(compile="on"), CPU, "t")
    assert choose_compiled(TrainConfig(compile="auto", max_steps=10_000), GPU, "t") is None


class NoLayers:
    def __init__(self):
        self.student = torch.nn.Linear(1, 1)


@pytest.mark.parametrize("changes", [{"checkpoint_activations": True}, {"compile": "on"}])
def test_a_model_of_another_kind_is_refused(changes, eager):
    with pytest.raises(TrainingError):
        set_execution_(NoLayers(), TrainConfig(**changes), CPU, "t")
    set_execution_(NoLayers(), TrainConfig(), CPU, "t")


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{"checkpoint_activations": True}, {"checkpoint_activations": True, "compile": "on"}]
)
def test_a_training_is_the_same_and_resumes(changes, make_objective, make_run, tmp_path, monkeypatch, eager):  # noqa: F811
    def run(folder, **more):
        objective = make_objective(hidden_dropout=0.1 if "compile" not in changes else 0.0)
        # With both, activations of compiled layers are computed again.
        hooks = [GroupGrowth([1, 2, 2, 2, 2, 2, 2], 1, 3)]
        result = train(objective, make_run(folder=tmp_path / folder, hooks=hooks, masks=True, **more))
        return objective, result

    _, expected = run("plain")
    after = Trainer._after_step

    def die(self, *given):
        after(self, *given)
        if self.progress.step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Trainer, "_after_step", die)
        run("stopped", **changes)
    ours, result = run("stopped", **changes)
    losses = [[record["loss"] for record in each.records if "loss" in record] for each in (result, expected)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    saved = [load_model(each.last).model.state_dict() for each in (result, expected)]
    assert saved[0].keys() == saved[1].keys()
    for name, tensor in saved[1].items():
        torch.testing.assert_close(saved[0][name], tensor, atol=3e-5, rtol=1e-3, msg=name)
    runners = {m.runner for model in (ours.student, *ours.teachers) for m in model.modules() if hasattr(m, "runner")}
    assert runners == {LayerRunner()} and not recomputes(ours.student)


@pytest.mark.slow
def test_gates_and_activations_computed_again(make, tmp_path):  # noqa: F811
    states = []
    for name, again in (("kept", False), ("again", True)):
        objective, run = make(tmp_path / name, max_steps=3, checkpoint_activations=again, parts=["heads", "conv"])
        train(objective, run)
        states.append(weights(objective))
        assert not objective.gates._drawn
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, atol=1e-6, rtol=1e-5, msg=name)
