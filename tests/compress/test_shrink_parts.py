"""The parts of the search against plain loops: elimination, the knapsack, what shapes cost, what a trial gives."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.compress.shrink.audio import split_audio
from bigfoot.compress.shrink.clusters import cluster_rows, merge_units
from bigfoot.compress.shrink.costs import estimate_cost
from bigfoot.compress.shrink.elimination import RIDGE, Elimination
from bigfoot.compress.shrink.kinds import KINDS
from bigfoot.compress.shrink.knapsack import choose_cheapest
from bigfoot.compress.shrink.loading import load_kind
from bigfoot.compress.shrink.low_rank import factorize_outputs
from bigfoot.compress.shrink.refit import RIDGES, Streams, fit_pulled_, refit_
from bigfoot.compress.shrink.search import carry_out, count_cost
from bigfoot.compress.shrink.survey import Reference, Survey
from bigfoot.models.feature_encoder import PaddedAudio


@pytest.fixture(scope="module")
def split():
    """Ten utterances of half a second and more, each of another length."""
    noise = torch.randn(10, 16_000, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(16_000) < torch.tensor([8_000 + 800 * row for row in range(10)])[:, None]
    return split_audio([PaddedAudio(noise * mask, mask)])


def problem(seed, count, size, constants):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(40, count * size + constants, generator=generator, dtype=torch.float64)
    x[:, :size] = x[:, size : 2 * size] + 0.1 * x[:, :size]  # the first unit is nearly the second
    return x.T @ x, torch.randn(3, count * size + constants, generator=generator, dtype=torch.float64)


def refit_without(gram, weight, gone):
    """Least squares at the inputs that stay, to what the whole map gives."""
    gram = gram + RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    stay = [at for at in range(len(gram)) if at not in gone]
    found = torch.zeros_like(weight)
    found[:, stay] = torch.linalg.solve(gram[stay][:, stay], gram[stay] @ weight.T).T
    return found, float(((found - weight) @ gram * (found - weight)).sum())


@given(st.integers(0, 99), st.integers(3, 6), st.integers(1, 3), st.integers(0, 1))
@settings(max_examples=25)
def test_elimination_is_a_refit_without_the_unit_that_costs_least(seed, count, size, constants):
    gram, weight = problem(seed, count, size, constants)
    path, gone, whole = Elimination(gram, weight, count, size), [], weight
    for _ in range(count):
        left = [unit for unit in range(count) if unit not in gone]
        entries = {unit: [*range(unit * size, (unit + 1) * size)] for unit in range(count)}
        tried = {
            unit: refit_without(gram, whole, [at for each in (*gone, unit) for at in entries[each]]) for unit in left
        }
        cheapest = min(tried, key=lambda unit: tried[unit][1])
        path.remove(1)
        gone.append(cheapest)
        assert path.left == [unit for unit in left if unit != cheapest]
        torch.testing.assert_close(path.weight, tried[cheapest][0], rtol=1e-5, atol=1e-7)
        energy = float((weight @ gram * weight).sum())
        assert path.error == pytest.approx(tried[cheapest][1] / energy, rel=1e-4, abs=1e-9)


OPTIONS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 20)), min_size=1, max_size=3)


@given(st.lists(OPTIONS, min_size=1, max_size=4), st.integers(1, 20))
@settings(max_examples=25)
def test_the_knapsack_is_the_best_of_all_choices(rows, needed):
    options = dict(enumerate(rows))
    # Savings are rounded down to a six hundredth of what is needed, a place each.
    rounded, best = needed * (1 + len(rows) / 600), None
    for choice in itertools.product(*[[None, *range(len(each))] for each in rows]):
        taken = [rows[place][at] for place, at in enumerate(choice) if at is not None]
        if sum(saving for saving, _ in taken) >= rounded:
            error = sum(error for _, error in taken)
            best = error if best is None else min(best, error)
    found = choose_cheapest(options, float(needed))
    if found is None:
        assert best is None
        return
    taken = [rows[place][at] for place, at in found.items()]
    assert sum(saving for saving, _ in taken) >= needed
    assert best is None or sum(error for _, error in taken) <= best


STRUCTURES = ["base", "large-lv60", "wavlm", "mms", "data2vec"]
EXACT = {"heads", "feed_forward", "clusters", "low_rank", "layers"}
"""Kinds of which a trial gives what the cut model gives, in every family."""


def propose(build_model, structure, split, names):
    model = build_model(structure)
    survey = Survey(model, split.fit, Reference.of(model, split.held), model)
    return model, survey, [cut for name in names for cut in load_kind(name).propose(survey)]


@pytest.mark.slow
@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_trial_gives_what_the_cut_model_gives_and_costs_are_exact(structure, build_model, split):
    model, survey, cuts = propose(build_model, structure, split, KINDS)
    assert {cut.kind for cut in cuts} >= EXACT
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seen = set()
    for cut in cuts:
        # The largest cut of each kind: the last of its first place.
        if cut.kind in seen or cut.first_layer == 0:
            continue
        seen.add(cut.kind)
        expected = survey.measure(cut)
        smaller = carry_out(model, [cut])
        if cut.kind in EXACT:
            assert survey.reference.measure(smaller) == pytest.approx(expected, rel=1e-3, abs=1e-6)
        assert smaller.config.to_dict() == cut.shape.to_dict()
        for measure in ("macs", "params"):
            there, here = count_cost(model, measure), count_cost(smaller, measure)
            assert there - here == estimate_cost(model.config, measure) - estimate_cost(cut.shape, measure)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@given(st.integers(0, 99))
@settings(max_examples=10)
def test_merged_units_are_those_of_a_plain_loop(seed):
    generator = torch.Generator().manual_seed(seed)
    inner, bias, outer = (torch.randn(*size, generator=generator) for size in ((9, 4), (9,), (3, 9)))
    owner = cluster_rows(torch.cat([inner, bias[:, None]], 1), 5, seed)
    assert sorted(set(owner.tolist())) == [*range(5)]
    merged = merge_units(inner, bias, outer, owner)
    for cluster in range(5):
        members = [row for row in range(9) if owner[row] == cluster]
        torch.testing.assert_close(merged[0][members[0]], sum(inner[row] for row in members) / len(members))
        torch.testing.assert_close(merged[1][members[0]], sum(bias[row] for row in members) / len(members))
        torch.testing.assert_close(merged[2][:, members[0]], sum(outer[:, row] for row in members))
        assert members[0] in merged[3] and not merged[2][:, members[1:]].any()


def test_outputs_of_low_rank_are_their_principal_components():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 5, generator=generator, dtype=torch.float64) + 3
    weight, bias = (torch.randn(*size, generator=generator, dtype=torch.float64) for size in ((4, 5), (4,)))
    ones = torch.nn.functional.pad(x, (0, 1), value=1.0)
    factors, moved = factorize_outputs(weight, bias, ones.T @ ones, 2)
    y = x @ weight.T + bias
    mean = y.mean(0)
    directions = torch.linalg.svd(y - mean, full_matrices=False)[2][:2]
    expected = (y - mean) @ directions.T @ directions + mean
    torch.testing.assert_close(x @ (factors.up @ factors.down).T + moved, expected, rtol=0, atol=1e-3)


def test_a_fit_takes_the_pull_that_does_best_on_frames_left_out():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(600, 4, generator=generator)
    wanted = torch.randn(2, 5, generator=generator)
    y = x @ wanted[:, :4].T + wanted[:, 4]
    linear = torch.nn.Linear(4, 2)
    with torch.no_grad():
        start = torch.cat([linear.weight, linear.bias[:, None]], 1).double()
        fit_pulled_(linear, x, y)
    # There is no noise, so that the least pull is best: the normal equations written out.
    inputs = torch.nn.functional.pad(x, (0, 1), value=1.0).double()
    gram = inputs.T @ inputs
    ridge = RIDGES[0] * gram.diagonal().mean() * torch.eye(5, dtype=gram.dtype)
    solved = torch.linalg.solve(gram + ridge, inputs.T @ y.double() + ridge @ start.T).T
    torch.testing.assert_close(linear.weight.double(), solved[:, :4], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(linear.bias.double(), solved[:, 4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("structure", ["base", "large-lv60"])
def test_a_refit_brings_the_frames_back_to_the_whole_models(structure, build_model, split):
    model, survey, cuts = propose(build_model, structure, split, ["feed_forward"])
    smaller = carry_out(model, [next(cut for cut in cuts if cut.first_layer == 1)])
    with torch.no_grad():
        for name, tensor in smaller.named_parameters():
            if name.endswith("layers.0.attention.out_proj.weight"):
                tensor.mul_(0.5)
    before = survey.reference.measure(smaller)
    refit_(smaller, Streams(model, split.fit), range(model.config.num_hidden_layers))
    assert survey.reference.measure(smaller) < 0.5 * before
