import math

import pytest
import torch

from bigfoot.training.optim import Schedule, build_optimizer, build_scheduler
from bigfoot.training.settings import TrainConfig


def rates(dev=None, **changes):
    dev = dev or {}
    config = TrainConfig(**{"max_steps": 10, "warmup_steps": 4, "learning_rate": 1.0, **changes})
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=config.learning_rate)
    schedule = Schedule(config)
    scheduler = build_scheduler(optimizer, schedule)
    found = []
    for step in range(config.max_steps):
        if step in dev:
            schedule.take_dev(dev[step])
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_linear_schedule_by_hand():
    expected = [1 / 4, 2 / 4, 3 / 4, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    assert rates(schedule="linear") == pytest.approx(expected)


def test_cosine_schedule_by_hand():
    fall = [1, (1 + math.cos(math.pi / 6)) / 2, 0.75, 0.5, 0.25, (1 + math.cos(5 * math.pi / 6)) / 2]
    assert rates(schedule="cosine") == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1, *fall])


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_a_rate_that_is_held_decays_later(kind):
    held = rates(schedule=kind, max_steps=13, hold_steps=3)
    assert held == pytest.approx(rates(schedule=kind)[:4] + [1.0] * 3 + rates(schedule=kind)[4:])


def test_constant_schedule_with_warmup_and_without():
    assert rates(schedule="constant", warmup_steps=0) == [1.0] * 10
    assert rates(schedule="constant") == [1 / 4, 2 / 4, 3 / 4, *[1.0] * 7]


def test_the_rate_is_lowered_where_dev_stops_improving():
    errors = {2: 0.5, 3: 0.4, 4: 0.4, 5: None, 6: 0.3, 7: 0.3, 8: 0.3}
    found = rates(errors, schedule="plateau", warmup_steps=2, plateau_patience=2, plateau_factor=0.1)
    # The rate of a step was set at the end of the one before it.
    assert found == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01])


def test_a_resumed_plateau_knows_what_it_has_seen():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    config = TrainConfig(schedule="plateau", warmup_steps=0, plateau_patience=1)
    one, again = (Schedule(config) for _ in range(2))
    saved = build_scheduler(optimizer, one)
    for error in (0.5, 0.6):
        one.take_dev(error)
    build_scheduler(optimizer, again).load_state_dict(saved.state_dict())
    assert vars(again) == vars(one) and again(7) == 0.5


def test_no_step_is_wasted_on_a_rate_of_nothing():
    for schedule in ("linear", "cosine", "constant"):
        for warmup in (0, 1, 5, 20):
            factor = Schedule(TrainConfig(max_steps=10, warmup_steps=warmup, schedule=schedule))
            assert all(0 < factor(step) <= 1 for step in range(10))


def test_groups_hold_every_parameter_once_with_its_rate_and_decay(build_model):
    model = build_model("large-lv60")
    projections = torch.nn.ModuleList([torch.nn.Linear(24, 30)])
    config = TrainConfig(learning_rate=1e-3, learning_rate_factors={"feature_encoder": 0.1, "projections": 2.0})
    optimizer = build_optimizer({**model.parts(), "projections": projections, "rest": model}, config)
    grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    everything = [id(p) for p in (*model.parameters(), *projections.parameters())]
    assert sorted(grouped) == sorted(everything) and len(set(grouped)) == len(grouped)
    factors = {"feature_encoder": 0.1, "projections": 2.0}
    for group in optimizer.param_groups:
        assert group["lr"] == pytest.approx(1e-3 * factors.get(group["name"], 1.0))
    names = {id(p): name for name, p in (*model.named_parameters(), *projections.named_parameters())}
    still = {names[id(p)] for g in optimizer.param_groups if g["weight_decay"] == 0 for p in g["params"]}
    assert {name for name in names.values() if name.endswith("bias") or "norm" in name} <= still
    assert any(name.endswith("masked_spec_embed") for name in still)
    decaying = {names[id(p)] for g in optimizer.param_groups if g["weight_decay"] for p in g["params"]}
    assert decaying == {names[id(p)] for p in (*model.parameters(), *projections.parameters()) if p.ndim > 1}


def test_a_shared_parameter_is_grouped_once():
    layer = torch.nn.Linear(2, 2)
    optimizer = build_optimizer({"encoder": layer, "rest": torch.nn.Sequential(layer, layer)}, TrainConfig())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2
    assert {group["name"] for group in optimizer.param_groups} == {"encoder"}


def test_rates_fall_from_layer_to_layer(build_model):
    model = build_model("base")
    config = TrainConfig(learning_rate=1.0, layer_decay=0.5, learning_rate_factors={"lm_head": 3.0})
    optimizer = build_optimizer({**model.parts(), "rest": model}, config)
    rate_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    encoder = model.speech_encoder
    expected = {
        encoder.encoder.layers[2]: 1.0, encoder.encoder.layers[1]: 0.5, encoder.encoder.layers[0]: 0.25,
        encoder.encoder.pos_conv_embed: 0.125, encoder.feature_encoder: 0.125, encoder.feature_projection: 0.125,
        model.head: 3.0,
    }  # fmt: skip
    for module, rate in expected.items():
        assert {rate_of[id(parameter)] for parameter in module.parameters()} == {rate}
    assert len(rate_of) == len(list(model.parameters()))
