"""One pass of the feature encoder for both models: the same losses, and only where it may be."""

import copy

import pytest
import torch

from bigfoot.compress.gates import Gates
from bigfoot.data.batches import LoadedUtterance, collate
from bigfoot.distill import ConvFeaturesLoss, HiddenLoss, LogitKLLoss, LossesConfig, MaskedHiddenLoss
from bigfoot.distill.bridge import Bridge
from bigfoot.distill.objective import Objective
from bigfoot.distill.shared_features import SharedFeatures
from bigfoot.training.hooks import FrozenFeatureEncoder

LOSSES = LossesConfig(LogitKLLoss(0.7), HiddenLoss(0.3), conv_features=ConvFeaturesLoss(0.4))
MASKED = LossesConfig(LogitKLLoss(0.7), masked_hidden=MaskedHiddenLoss(1.0))


@pytest.fixture
def batch(speech, processor):
    return collate([LoadedUtterance(str(n), "s", "ONE", speech[0][0, :n].numpy()) for n in (9000, 5000)], processor)


@pytest.fixture
def make(build_model):
    def make(losses=LOSSES, structure="base", bridge=None, frozen=True, **changes):
        teacher = build_model(structure, seed=1)
        student = build_model(structure, seed=1, num_hidden_layers=2, **changes)
        front = teacher.speech_encoder.feature_encoder
        if student.config.groups_of_convs == teacher.config.groups_of_convs:
            student.speech_encoder.feature_encoder.load_state_dict(front.state_dict())
        if frozen:
            FrozenFeatureEncoder(9).before_step_(student, 0)
        return Objective(losses, student, teacher, bridge).train()

    return make


@pytest.fixture
def passes(monkeypatch):
    """Passes through a feature encoder."""
    from bigfoot.models.feature_encoder import FeatureEncoder

    found, forward = [], FeatureEncoder.forward
    monkeypatch.setattr(FeatureEncoder, "forward", lambda self, *a: found.append(self) or forward(self, *a))
    return found


def losses_of(objective, batch, masks=None):
    torch.manual_seed(3)
    terms = objective(batch, masks or {})
    sum(objective.weights[name] * term.mean() for name, term in terms.items()).backward()
    gradients = {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}
    objective.zero_grad()
    return {name: term.mean().item() for name, term in terms.items()}, gradients


@pytest.mark.parametrize("structure", ["base", "large-lv60", "data2vec"])
def test_losses_and_gradients_are_those_of_two_passes(structure, make, batch, passes, monkeypatch):
    objective = make(structure=structure)
    found, gradients = losses_of(objective, batch)
    assert len(passes) == 1
    monkeypatch.setattr(SharedFeatures, "is_shared", lambda _: False)
    expected, others = losses_of(objective, batch)
    assert len(passes) == 3
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9) and gradients.keys() == others.keys()
    assert not [name for name in gradients if "feature_extractor" in name]
    for name, gradient in others.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-6, rtol=1e-6, msg=name)


@pytest.mark.parametrize("masked", [True, False])
def test_a_teacher_that_runs_twice_convolves_once(masked, make, batch, passes, monkeypatch):
    objective = make(MASKED, frozen=False)
    masks = {"mask_time_indices": torch.rand(2, 27) < 0.3} if masked else {}
    found, _ = losses_of(objective, batch, masks)
    assert len(passes) == 2
    monkeypatch.setattr(SharedFeatures, "compute", lambda *_: (None, None))
    expected, _ = losses_of(objective, batch, masks)
    assert len(passes) == (5 if masked else 4) and found == pytest.approx(expected, rel=1e-6, abs=1e-9)


def unfrozen(objective):
    FrozenFeatureEncoder(9).before_step_(objective.student, 9)


def changed(objective):
    with torch.no_grad():
        objective.student.speech_encoder.feature_encoder.conv_layers[3].conv.weight[0] *= 0.5


def another_type(objective):
    objective.teachers[0].double()


def gated(objective):
    Gates(objective.student, ["conv"])


@pytest.mark.parametrize("change", [unfrozen, changed, another_type, gated])
def test_where_they_are_not_the_same_each_computes_its_own(change, make, batch, passes):
    objective = make()
    assert objective._features.is_shared()
    change(objective)
    assert not objective._features.is_shared()
    if change is not another_type:
        losses_of(objective, batch)
        assert len(passes) == 2


def test_other_audio_groups_and_frames_are_not_shared(make, batch, passes, processor):
    bridge = Bridge.between(make().student.config, make().teachers[0].config)
    other = Bridge(bridge.teacher, bridge.student, do_normalize=not processor.do_normalize)
    losses_of(make(bridge=other), batch)
    losses_of(make(conv_groups=[1, 2, 2, 2, 2, 2, 2]), batch)
    assert len(passes) == 4
    assert not SharedFeatures(make().student, make(structure="large-lv60").teachers[0], twice=False).is_shared()


def test_a_weight_that_is_put_back_is_shared_again(make):
    features = (objective := make())._features
    front = objective.student.speech_encoder.feature_encoder
    before = copy.deepcopy(front.state_dict())
    changed(objective)
    assert not features.is_shared()
    front.load_state_dict(before)
    assert features.is_shared()
