"""Subnets: slices of one model are the models that are cut out of it, whatever their shape."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.compress.prune import prunable_units
from bigfoot.compress.stored_size import count_stored_bytes
from bigfoot.compress.subnet import Subnet, build_space, nest_layers
from bigfoot.compress.supernet import SubnetRunner, extract, order_units, subnet_shape, subnet_state
from bigfoot.compress.surgery import prune_units
from bigfoot.compress.units import Place, find_units
from bigfoot.errors import UnfitError
from bigfoot.formats.folder import load_model, save_model
from bigfoot.models.reshape import plain_state
from tests.codes import refusing
from tests.conftest import STRUCTURES

ALL = {"heads": [0.5], "feed_forward": [0.25, 0.5], "conv": [0.5], "width": [0.5]}


def shares_of(config):
    """Shares of all that can vary in a shape."""
    parts = {place.part for place in find_units(config)}
    if config.has_position_bias:
        parts -= {"width"}
    return {part: ALL.get(part, [0.5]) for part in sorted(parts)}


def space_of(config, **changes):
    return build_space(config, shares_of(config), changes.get("depth", [0.5]), changes.get("bits", [32]))


@pytest.mark.grid
@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_slice_answers_as_the_model_that_is_cut_out(structure, build_model, speech):
    model = build_model(structure)
    space = space_of(model.config, bits=[8, 32])
    ordered, generator = order_units(model, list(space.choices), "l2"), np.random.default_rng(3)
    runner = SubnetRunner(ordered)
    with torch.no_grad():
        torch.testing.assert_close(ordered(speech[0]).logits, model(speech[0]).logits, atol=1e-4, rtol=1e-4)
        for subnet in (space.smallest, space.draw(generator)):
            cut = extract(ordered, subnet)
            assert cut.config.num_hidden_layers == len(subnet.layers)
            torch.testing.assert_close(
                runner.run(subnet, speech[0], None).logits, cut(speech[0]).logits, atol=1e-5, rtol=1e-5
            )


@pytest.fixture(scope="module")
def base(build_model):
    return build_model("base", seed=4)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), padding=st.integers(0, 3_000), bits=st.sampled_from([8, 32]))
def test_of_any_shape_padded_or_not(base, seed, padding, bits):
    """Against the model that ``prune_units`` makes of the same units, and in a batch as alone."""
    space, generator = space_of(base.config, depth=[0.34, 0.67], bits=[bits]), np.random.default_rng(seed)
    subnet, samples = space.draw(generator), torch.from_numpy(generator.standard_normal((2, 4_000))).float()
    mask = torch.ones(2, 4_000 + padding, dtype=torch.bool)
    mask[:, 4_000:], mask[1, 2_500:] = False, False
    padded = torch.nn.functional.pad(samples, (0, padding))
    runner, cut = SubnetRunner(base), extract(base, subnet)
    with torch.no_grad():
        together, separate = runner.run(subnet, padded, mask), cut(padded, mask)
        real = together.frame_mask
        assert torch.equal(real, separate.frame_mask)
        torch.testing.assert_close(together.logits[real], separate.logits[real], atol=1e-5, rtol=1e-5)
        alone = runner.run(subnet, samples[1:, :2_500], None).logits[0]
        torch.testing.assert_close(together.logits[1][real[1]], alone, atol=1e-4, rtol=1e-4)


def test_the_first_units_are_those_of_most_importance(build_model):
    model = build_model("base", seed=1)
    ordered = order_units(model, [Place("feed_forward", 0)], "l2")
    norms = plain_state(ordered)["encoder.encoder.layers.0.feed_forward.intermediate_dense.weight"].norm(dim=1)
    first = plain_state(model)["encoder.encoder.layers.0.feed_forward.intermediate_dense.weight"].norm(dim=1)
    assert torch.allclose(norms.sort().values, first.sort().values) and norms[: len(norms) // 2].sum() > norms.sum() / 2


def test_gradients_reach_the_slices_and_nothing_else(base):
    subnet = Subnet((0, 2), ((Place("feed_forward", 0), 8),))
    base.zero_grad()
    SubnetRunner(base).run(subnet, torch.randn(1, 4_000), None).logits.sum().backward()
    name = "encoder.layers.{}.feed_forward.intermediate_dense.weight".format
    weights = dict(base.speech_encoder.named_parameters())
    first, second, last = (weights[name(layer)].grad for layer in range(3))
    assert first[:8].abs().min() > 0 and not first[8:].any() and second is None and last.abs().min() > 0
    base.zero_grad()


def test_rounded_weights_pass_gradients_through(base):
    whole = build_space(base.config, {}, [1.0], [8]).largest
    state = {name: tensor.clone().requires_grad_() for name, tensor in plain_state(base).items()}
    rounded = subnet_state(state, base.config, whole)
    name = "encoder.encoder.layers.0.attention.q_proj.weight"
    assert rounded[name].unique().numel() < state[name].unique().numel()
    rounded[name].sum().backward()
    assert torch.equal(state[name].grad, torch.ones_like(state[name]))


def test_states_stand_where_the_supernet_has_them(base):
    """Channels and layers that a subnet lacks: zeros, and what is before them without a gradient."""
    width = prunable_units(base.config, ["width"])[Place("width")]
    runner, half = SubnetRunner(base), 2 * width.multiple
    subnet = Subnet((0, 2), ((Place("width"), half),))
    output = runner.run(subnet, torch.randn(1, 4_000), None, output_hidden_states=True)
    states = runner.as_supernet(output, subnet).hidden_states
    kept = runner.width_indices(subnet, torch.device("cpu"))
    assert len(states) == base.config.num_hidden_layers + 1 and {state.shape[-1] for state in states} == {width.count}
    for whole, own in ((0, 0), (1, 1), (2, 1), (3, 2)):
        assert torch.equal(states[whole][..., kept], output.hidden_states[own])
        assert whole == 2 or states[whole].requires_grad
    assert not states[2].requires_grad
    others = [channel for channel in range(width.count) if channel not in kept]
    assert len(kept) == half and not states[3][..., others].any()


@pytest.mark.parametrize("bits", [8, 32])
@pytest.mark.parametrize("structure", ["base", "large-lv60"])
def test_bytes_are_those_of_the_file(structure, bits, build_model, processor, tmp_path):
    model = build_model(structure)
    space = space_of(model.config, bits=[bits])
    save_model(extract(model, space.smallest), processor, tmp_path / "cut")
    written = (tmp_path / "cut" / "model.safetensors").stat().st_size
    assert count_stored_bytes(subnet_shape(model.config, space.smallest), bits) == written
    opened = load_model(tmp_path / "cut").model
    audio = torch.randn(1, 4_000)
    with torch.no_grad():
        sliced = SubnetRunner(model).run(space.smallest, audio, None).logits
        torch.testing.assert_close(opened(audio).logits, sliced, atol=1e-5, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(num_layers=st.integers(1, 24))
def test_layers_are_nested_and_keep_both_ends(num_layers):
    order = nest_layers(num_layers)
    assert sorted(order) == list(range(num_layers)) and order[0] == num_layers - 1
    assert num_layers == 1 or order[1] == 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), rate=st.floats(0, 1))
def test_draws_stay_in_the_space(base, seed, rate):
    space, generator = space_of(base.config, depth=[0.34, 0.67], bits=[8, 32]), np.random.default_rng(seed)
    one, other = space.draw(generator), space.draw(generator)
    for subnet in (one, space.mutate(one, rate, generator), space.cross(one, other, rate, generator)):
        assert len(subnet.layers) in space.depths and subnet.bits in space.bits
        assert all(count in space.choices[place] for place, count in subnet.counts)
        inside = {place.layer for place in subnet.units if place.kind not in ("conv", "width")}
        assert inside <= set(subnet.layers)
    assert space.cross(one, other, 0.0, generator) == one and space.cross(one, other, 1.0, generator) == other
    assert space.draw(np.random.default_rng(seed)) == one


def test_what_cannot_vary_is_refused(build_model):
    with refusing(("parts", "not_prunable"), kind=UnfitError):
        build_space(build_model("wavlm").config, {"width": [0.5]}, [1.0], [32])
    with refusing(("depth", "not_elastic"), kind=UnfitError):
        build_space(build_model("base", attention_reuse=[None, 0, None]).config, {}, [0.5], [32])


def test_kept_units_are_those_of_pruning(base):
    """A subnet without fewer layers is what ``prune_units`` makes of the first units."""
    subnet = build_space(base.config, {"heads": [0.5], "conv": [0.5]}, [1.0], [32]).smallest
    keep = {place: list(range(count)) for place, count in subnet.counts}
    expected, found = plain_state(prune_units(base, keep)), plain_state(extract(base, subnet))
    assert expected.keys() == found.keys() and all(torch.equal(expected[name], found[name]) for name in expected)
