"""The average of weights, and sittings: one after the other they are one training, to the same bits."""

import pytest
import torch

from bigfoot.data.settings import DataConfig
from bigfoot.distill import CTCLoss, LogitKLLoss, LossesConfig
from bigfoot.distill.objective import Objective
from bigfoot.errors import TrainingPaused, plain_errors
from bigfoot.formats.folder import load_model
from bigfoot.training import sitting
from bigfoot.training.averaging import WeightAverage
from bigfoot.training.hooks import TrainingHook
from bigfoot.training.loop import train
from bigfoot.training.run import TrainingRun
from bigfoot.training.settings import TrainConfig

pytestmark = pytest.mark.slow


class Recorder(TrainingHook):
    def __init__(self):
        self.states = []

    def after_step_(self, student, step):
        self.states.append({name: weight.detach().clone() for name, weight in student.named_parameters()})


@pytest.fixture
def run_in(small_digits, processor, tmp_path):
    def make(name, hooks, **changes):
        config = TrainConfig(max_steps=4, warmup_steps=1, eval_every=4, checkpoint_every=100, learning_rate=2e-3)
        return TrainingRun(
            name="finetune", config=config, data=DataConfig(batch_seconds=4.0, num_buckets=2), processor=processor,
            manifests=small_digits.manifests, folder=tmp_path / name, seed=11, hooks=hooks, **changes,
        )  # fmt: skip

    return make


@pytest.fixture
def objective(build_model):
    def make():
        student = build_model("base", seed=2, num_hidden_layers=2, hidden_size=16, num_attention_heads=2)
        return Objective(LossesConfig(logit_kl=LogitKLLoss(weight=0.0), ctc=CTCLoss(weight=1.0)), student, None)

    return make


def weights(folder):
    return dict(load_model(folder).model.named_parameters())


@pytest.fixture
def paused_after(monkeypatch):
    """Sittings that are over after so many steps, whatever the clock says."""

    def limit(steps):
        counted = iter(range(1, 100))
        monkeypatch.setattr(sitting.Sitting, "is_over", lambda _: next(counted) >= steps)

    return limit


def test_the_average_is_that_of_a_loop_and_is_what_is_saved(run_in, objective):
    recorder, average = Recorder(), WeightAverage(0.6)
    given = objective()
    train(given, run_in("one", [recorder, average]))
    expected = recorder.states[0]
    for step, state in enumerate(recorder.states[1:], start=2):
        decay = min(0.6, (1 + step) / (10 + step))
        expected = {name: decay * expected[name] + (1 - decay) * weight for name, weight in state.items()}
    for folder in ("best", "last"):
        for name, weight in weights(run_in("one", []).folder / folder).items():
            torch.testing.assert_close(weight, expected[name], msg=name)
    # The training goes on from its own weights.
    for name, weight in given.student.named_parameters():
        assert torch.equal(weight, recorder.states[-1][name])
    assert any(not torch.equal(expected[name], weight) for name, weight in recorder.states[-1].items())


def test_sittings_are_one_training_to_the_same_bits(run_in, objective, paused_after):
    whole = train(objective(), run_in("whole", [WeightAverage(0.9)]))
    for done in (1, 2):
        paused_after(done)
        with pytest.raises(TrainingPaused):
            train(objective(), run_in("parts", [WeightAverage(0.9)], max_minutes=1.0))
    paused_after(99)
    parts = train(objective(), run_in("parts", [WeightAverage(0.9)], max_minutes=1.0))
    for one, other in ((whole.best, parts.best), (whole.last, parts.last)):
        expected = weights(one)
        assert all(torch.equal(weight, expected[name]) for name, weight in weights(other).items())
    assert whole.records == parts.records


def test_a_limit_of_time_is_kept_and_ends_a_command(run_in, objective):
    with pytest.raises(SystemExit) as ended, plain_errors():
        train(objective(), run_in("short", [], max_minutes=1e-9))
    assert ended.value.code == TrainingPaused.exit_code
