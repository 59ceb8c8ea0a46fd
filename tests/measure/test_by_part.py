from types import SimpleNamespace

import pytest
import torch

from bigfoot.measure import by_part, speed
from bigfoot.measure.by_part import describe_parts, measure_parts, timed_parts
from bigfoot.measure.peak import build_product
from bigfoot.measure.size import PARTS, part_modules


@pytest.fixture
def clock(monkeypatch):
    """A clock that only modules move."""
    hands = SimpleNamespace(now=0.0)
    for module in (by_part, speed):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: hands.now))
    return hands


class SlowProduct(SimpleNamespace):
    """A matrix product that takes so long."""

    def __call__(self):
        self.clock.now += self.seconds


def give_costs(model, clock):
    """Every convolution takes 1 s, the projection 2, the positional convolution 3, a layer 5, the head 7."""
    base, head = model.base_model, part_modules(model)[4:]
    costs = [(layer, 1.0) for layer in base.feature_extractor.conv_layers] + [(base.feature_projection, 2.0)]
    costs += [(base.encoder.pos_conv_embed.conv, 3.0)] + [(layer, 5.0) for layer in base.encoder.layers]
    for module, cost in [*costs, *((module, 7.0) for module in head)]:
        module.register_forward_hook(lambda *_, cost=cost: setattr(clock, "now", clock.now + cost))


@pytest.mark.parametrize("builder", ["build_model", "build_huggingface"])
@pytest.mark.parametrize("structure", ["base", "large-lv60"])
def test_every_second_falls_to_its_part(builder, structure, clock, request):
    model = request.getfixturevalue(builder)(structure)
    give_costs(model, clock)
    macs = {"m": {"conv": 80, "positional_conv": 10, "transformer": 10, "head": 0}}
    product = SlowProduct(macs=64, clock=clock, seconds=2.0)
    found = measure_parts({"m": model}, macs, product, rounds=2, seconds=0.5, batch=2)["m"]
    assert {part: own.median_s for part, own in found.items()} == {
        "conv": 9.0, "positional_conv": 3.0, "transformer": 15.0, "head": 7.0
    }  # fmt: skip
    assert found["transformer"].time_share == 15 / 34 and found["conv"].macs_share == 0.8
    # 80 a second of audio, 1 s of audio, in 9 s; the machine does 64 in 2 s.
    assert found["conv"].share_of_peak == pytest.approx(80 / 9 / 32)
    assert (found["head"].macs_per_second, found["head"].share_of_peak) == (0, 0.0)


def test_a_model_without_a_head(build_model, clock):
    model = build_model(ctc_head=False)
    give_costs(model, clock)
    with torch.no_grad(), timed_parts(model) as read:
        model(torch.zeros(1, 8000))
        assert read() == {"conv": 9.0, "positional_conv": 3.0, "transformer": 15.0, "head": 0}
        assert sum(read().values()) == 0, "since it was last asked"


def test_hooks_are_gone_afterwards(build_model):
    model = build_model(hidden_dropout=0.5).train()
    measure_parts({"m": model}, {"m": dict.fromkeys(PARTS, 1)}, build_product(4), rounds=1, seconds=0.1)
    assert model.training
    with pytest.raises(RuntimeError), timed_parts(model):
        raise RuntimeError
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in part_modules(model))


def test_medians_over_rounds():
    rounds = [{"conv": 1.0, "head": 1.0}, {"conv": 9.0, "head": 1.0}, {"conv": 3.0, "head": 1.0}]
    found = describe_parts(rounds, {"conv": 6, "head": 2}, audio=1.0, peaks=[6.0, 6.0, 1.0])
    assert (found["conv"].median_s, found["conv"].time_share, found["conv"].macs_share) == (3.0, 0.75, 0.75)
    assert found["conv"].share_of_peak == 1.0  # of 1, 1/9 and 2
