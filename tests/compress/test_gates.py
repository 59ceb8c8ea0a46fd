"""Gates: their law, their count of parameters, and the smaller model that they leave."""

import pytest
import torch

from bigfoot.compress.gates import Gates, gated_units
from bigfoot.compress.units import Place
from tests.codes import refusing
from tests.conftest import STRUCTURES

PARTS = ["heads", "feed_forward", "conv"]
BLOCKS = [*PARTS[:2], "blocks"]


def close_(gates, seed=0, spread=4.0):
    """Move gates apart: some shut, some open, some between."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for alpha in gates.log_alphas:
            alpha.copy_(torch.randn(alpha.shape, generator=generator) * spread)


@pytest.mark.grid
@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_cut_model_answers_as_the_gated_one(structure, build_model, speech):
    model = build_model(structure)
    # A layer norm over channels is over fewer when some are cut: there only open and half-open gates compare.
    exact = model.config.feat_extract_norm == "group" and model.config.has_convolutions
    inner = ["conv_module"] * (model.config.is_conformer and model.config.conv_module_norm == "batch")
    gates = Gates(model, [*(PARTS if exact else PARTS[:2]), *inner])
    close_(gates)
    pruned = gates.cut(model)
    with torch.no_grad():
        torch.testing.assert_close(pruned(speech[0]).logits, model(speech[0]).logits, atol=1e-5, rtol=1e-5)
    size = gates.measure_size()
    assert size.before == sum(p.numel() for p in model.parameters())
    assert size.after == sum(p.numel() for p in pruned.parameters()) < size.before
    assert pruned.config.feature_size == model.config.feature_size


@pytest.mark.grid
@pytest.mark.parametrize("parts", [["blocks"], BLOCKS])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_without_blocks_it_answers_as_the_gated_one(structure, parts, build_model, speech):
    """Shut, half-open and open blocks: the model, its parameters and those that were counted."""
    model = build_model(structure)
    gates = Gates(model, parts)
    close_(gates)
    shut = {Place("attention_block", 0): -9.0, Place("attention_block", 1): 0.3, Place("attention_block", 2): 9.0,
            Place("feed_forward_block", 0): 0.3, Place("feed_forward_block", 1): -9.0}  # fmt: skip
    with torch.no_grad():
        for place, alpha in gates._by_place():
            if place in gates.blocks:
                alpha.fill_(shut.get(place, 9.0))
        pruned = gates.cut(model)
        torch.testing.assert_close(pruned(speech[0]).logits, model(speech[0]).logits, atol=1e-5, rtol=1e-5)
    assert gates.removed_blocks() == [Place("attention_block", 0), Place("feed_forward_block", 1)]
    assert pruned.config.heads_of_layers[0] == 0 == pruned.config.widths_of_layers[1]
    assert 0 not in pruned.config.heads_of_layers[1:] and pruned.config.widths_of_layers[0]
    size = gates.measure_size()
    assert size.after == sum(p.numel() for p in pruned.parameters()) < size.before
    assert all(torch.isfinite(alpha).all() for alpha in gates.log_alphas)


@pytest.mark.slow
def test_a_unit_is_expected_only_as_far_as_its_block_is(build_model):
    """Over many draws, counted by hand: parameters of units in blocks, both at random."""
    model = build_model("base", num_hidden_layers=1)
    gates = Gates(model, BLOCKS)
    close_(gates, spread=1.5)
    d, width, head = model.config.hidden_size, model.config.head_dim, 4 * model.config.hidden_size
    rest = gates.measure_size().before - sum(p.numel() for p in _layer(model).attention.parameters())
    rest -= sum(p.numel() for p in _layer(model).feed_forward.parameters())
    total, draws = 0.0, 4000
    for seed in range(draws):
        gates.draw(seed)
        there = {place.kind: int((value > 0).sum()) for place, value in gates._drawn.items()}
        total += rest + there["attention_block"] * (there["heads"] * width * (head + 3) + d)
        total += there["feed_forward_block"] * (there["feed_forward"] * (2 * d + 1) + d)
    assert gates.measure_size().expected == pytest.approx(total / draws, rel=0.01)


def _layer(model):
    return model.speech_encoder.encoder.layers[0]


def test_some_attention_stays_where_all_its_blocks_are_shut(build_model, speech):
    model = build_model("wavlm")
    gates = Gates(model, ["blocks"])
    with torch.no_grad():
        for index, alpha in enumerate(gates.log_alphas):
            alpha.fill_(-9.0 - index % 2)
        pruned = gates.cut(model)
        torch.testing.assert_close(pruned(speech[0]).logits, model(speech[0]).logits, atol=1e-5, rtol=1e-5)
    assert sum(heads > 0 for heads in pruned.config.heads_of_layers) == 1 and sum(pruned.config.widths_of_layers) == 0
    assert gates.measure_size().after == sum(p.numel() for p in pruned.parameters())


def test_half_open_gates_under_layer_norm_are_taken_up_by_the_next_kernel(build_model, speech):
    model = build_model("large-lv60")
    gates = Gates(model, PARTS)
    with torch.no_grad():
        for alpha in gates.log_alphas:
            alpha.copy_(torch.linspace(-1, 1, len(alpha)))
        pruned = gates.cut(model)
        torch.testing.assert_close(pruned(speech[0]).logits, model(speech[0]).logits, atol=1e-5, rtol=1e-5)
    assert pruned.config.conv_dim == model.config.conv_dim


@pytest.mark.slow
def test_the_law_of_a_gate(build_model):
    """Over many draws: how often a gate is open at all is what the expectation says (Louizos et al., equation 12)."""
    gates = Gates(build_model("base"), ["feed_forward"])
    levels = torch.linspace(-4, 3, 40)
    with torch.no_grad():
        gates.log_alphas[0].copy_(levels)
        opened = torch.zeros(40)
        for seed in range(2000):
            gates.draw(seed)
            drawn = gates._drawn[Place("feed_forward", 0)]
            assert float(drawn.min()) >= 0 and float(drawn.max()) <= 1
            opened += drawn > 0
    expected = torch.sigmoid(levels - 2 / 3 * torch.log(torch.tensor(0.1 / 1.1)))
    torch.testing.assert_close(opened / 2000, expected, atol=0.05, rtol=0)


def test_expected_parameters_counted_by_hand(build_model):
    """Kernels between two gated convolutions shrink by both; a shut model is as small as its gates say."""
    model = build_model("base")
    gates = Gates(model, ["conv"])
    shares = {place: torch.tensor(0.5) for place in gates.units}
    shrink = dict.fromkeys(range(7), 0.5) | {6: 1.0}
    dims, kernels = [1, *model.config.conv_dim], model.config.conv_kernel
    whole = half = 0.0
    for layer in range(7):
        weights = dims[layer] * dims[layer + 1] * kernels[layer]
        whole += weights
        half += weights * shrink[layer] * (1.0 if layer == 0 else 0.5)
    norm = 2 * dims[1]  # of the first convolution
    expected = gates.measure_size().before - (whole - half) - norm / 2
    assert float(gates._count(shares)) == pytest.approx(expected)


def test_draws_follow_from_the_seed_alone(build_model, speech):
    model = build_model("base")
    gates = Gates(model, PARTS)
    close_(gates, spread=1.0)

    def outputs_of(seed):
        gates.draw(seed)
        with torch.no_grad():
            logits = model(speech[0]).logits
        gates.forget()
        return logits

    before = torch.get_rng_state()
    assert torch.equal(outputs_of(1), outputs_of(1)) and not torch.equal(outputs_of(1), outputs_of(2))
    assert torch.equal(torch.get_rng_state(), before)
    with torch.no_grad():
        assert torch.equal(model(speech[0]).logits, model(speech[0]).logits)


@pytest.mark.slow
def test_the_penalty_brings_the_expected_sparsity_to_its_target(build_model):
    gates = Gates(build_model("base"), PARTS)
    optimizer = torch.optim.Adam(gates.parameters(), lr=0.1)
    for _ in range(600):
        optimizer.zero_grad()
        gates.penalty(0.3, warmup_steps=100).backward()
        optimizer.step()
        gates.steps_done += 1
    assert float(gates.expected_sparsity().detach()) == pytest.approx(0.3, abs=0.03)


def test_one_unit_stays_where_all_gates_are_shut(build_model, speech):
    model = build_model("wavlm")
    gates = Gates(model, PARTS)
    with torch.no_grad():
        for alpha in gates.log_alphas:
            alpha.fill_(-9)
            alpha[1] = -8
        pruned = gates.cut(model)
        assert torch.isfinite(pruned(speech[0]).logits).all()
    assert pruned.config.heads_of_layers == [1, 1, 1] and pruned.config.layer_position_heads == [[1], [1], [1]]
    assert gates.measure_size().after == sum(p.numel() for p in pruned.parameters())


def test_where_no_gate_can_stand(build_model):
    grouped = build_model("base", conv_groups=[1, 2, 2, 2, 2, 2, 2]).config
    with refusing(("parts", "not_gateable")):
        gated_units(grouped, ["conv"])
    assert {place.kind for place in gated_units(grouped, PARTS)} == {"heads", "feed_forward"}
    assert [place.layer for place in gated_units(build_model("base").config, ["conv"])] == list(range(6))
