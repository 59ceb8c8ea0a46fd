"""Quantization-aware training: what trains is what is saved and exported, and a stopped run goes on exactly."""

import numpy as np
import pytest
import torch

from bigfoot.compress.packing import find_candidates
from bigfoot.compress.packing_settings import Packing
from bigfoot.compress.quantize import calibrate, folder_plan
from bigfoot.data.settings import DataConfig
from bigfoot.distill import LogitKLLoss, LossesConfig
from bigfoot.export.onnx import build_onnx
from bigfoot.formats.conversion import make_speechlike_noise
from bigfoot.formats.folder import LoadedModel, load_model
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.models.small_weights import SmallWeights
from bigfoot.training.loop import Trainer, train
from bigfoot.training.qat import QatObjective, Rounding, StepsHook, first_small
from bigfoot.training.quantizing import QatConfig
from bigfoot.training.run import TrainingRun
from tests.models.test_packed import WIDE

GROUPED = WIDE | {"conv_dim": [32] * 7, "conv_groups": [1, 2, 2, 1, 1, 1, 1], "conv_sharing": [[3, 4]]}
WAVE = make_speechlike_noise(0.5)[0][None]


def choose(student, bits, conv_bits=8):
    found = find_candidates(student.config, Packing([bits], [conv_bits], 16))
    return found.as_small(found.smallest())


def choose_int8(student, kept=()):
    audio = [PaddedAudio(WAVE, torch.ones_like(WAVE, dtype=torch.bool))]
    return first_small(student, calibrate(student, audio), list(kept))


CHOICES = {
    "int8_static": lambda student: choose_int8(student, ["encoder.layers.1"]),
    "int8": lambda student: SmallWeights("int8"),
    "4": lambda student: choose(student, 4),
    "4 and 4": lambda student: choose(student, 4, 4),
    "2 and 2": lambda student: choose(student, 2, 2),
}


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("choice", CHOICES)
def test_training_computes_what_is_deployed(choice, build_model, processor):
    """To the last bit in PyTorch; in the exported file up to the order of sums, and where that tips a rounding."""
    student = build_model("base", **GROUPED)
    before = student(WAVE).logits
    rounding = Rounding(student, CHOICES[choice](student))
    for steps in rounding.learned().parameters():  # as training would leave them
        steps.mul_(1 + 0.1 * torch.rand(steps.shape, generator=torch.Generator().manual_seed(1)))
    small = rounding.deployed()
    expected = student(WAVE).logits
    assert torch.equal(small(WAVE).logits, expected)
    # Without dropout a pass of training is the same: no fast way round a layer's forward.
    assert torch.equal(student.train()(WAVE).logits, expected)
    exported = build_onnx(LoadedModel(small, processor), folder_plan(small))
    found = torch.from_numpy(exported.open()(WAVE.numpy(), np.array([WAVE.shape[1]]))[0])
    cost = (expected - before).square().mean().sqrt()
    limit = 0.3 if choice == "int8_static" else 1e-3
    assert cost > 0 and (found - expected).square().mean().sqrt() < limit * cost
    operators = {node.op_type for node in exported.graph.graph.node}
    assert ("MatMulNBits" in operators) == choice.startswith("4")
    if choice != "int8":
        full = build_onnx(LoadedModel(build_model("base", **GROUPED), processor))
        assert exported.graph.ByteSize() < 0.8 * full.graph.ByteSize()


@torch.no_grad()
def test_each_int8_layer_is_the_files_to_rounding(build_model, processor):
    """Layer by layer with the same input, so that no tipped rounding is carried along."""
    student = build_model("base", **GROUPED)
    small = Rounding(student, choose_int8(student)).deployed()
    exported = build_onnx(LoadedModel(small, processor), folder_plan(small))
    errors = exported.rank_layers(student.eval(), WAVE)
    assert len(errors) == len(folder_plan(small).ranges) + 1 and all(each.error < 1e-5 for each in errors)


@pytest.fixture
def make(build_model, small_digits, processor):
    def make(folder, precision="packed"):
        config = QatConfig(
            max_steps=6, warmup_steps=1, eval_every=3, checkpoint_every=2, log_every=1, learning_rate=1e-3,
            learning_rate_factors={"steps": 30.0}, schedule="constant", precision=precision,
        )  # fmt: skip
        student, teacher = (build_model("base", seed=2, **WIDE, hidden_dropout=0.1) for _ in range(2))
        small = choose(student, 4) if precision == "packed" else choose_int8(student)
        objective = QatObjective(LossesConfig(LogitKLLoss(1.0)), student, teacher, small)
        data = DataConfig(batch_seconds=6.0, num_buckets=2)
        return objective, TrainingRun(
            name="qat", config=config, data=data, processor=processor, manifests=small_digits.manifests,
            folder=folder, seed=11, fingerprint="one", hooks=[StepsHook(objective)],
        )  # fmt: skip

    return make


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["packed", "int8_static"])
def test_stopped_in_the_middle_it_goes_on_to_the_same_bits(make, tmp_path, precision, monkeypatch):
    whole, run = make(tmp_path / "whole", precision)
    began = [steps.detach().clone() for steps in whole.rounding.learned().parameters() if steps.requires_grad]
    train(whole, run)
    moved = [steps for steps in whole.rounding.learned().parameters() if steps.requires_grad]
    assert began and all(not torch.equal(one, two) for one, two in zip(began, moved, strict=True))
    torch.manual_seed(99)
    after = Trainer._after_step

    def die(self, *arguments):
        after(self, *arguments)
        if self.progress.step == 5:
            raise KeyboardInterrupt

    stopped, run = make(tmp_path / "stopped", precision)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Trainer, "_after_step", die)
        train(stopped, run)
    again, run = make(tmp_path / "stopped", precision)
    result = train(again, run)
    one, two = whole.state_dict(), again.state_dict()
    assert one.keys() == two.keys() and [name for name in one if not torch.equal(one[name], two[name])] == []
    best, last = (load_model(folder).model for folder in (result.best, result.last))
    assert best.config.precision == precision
    expected = again.deployed().state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in last.state_dict().items())
