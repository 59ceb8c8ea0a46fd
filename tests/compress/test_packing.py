"""Bits of each layer: the knapsack against trying everything, the budget to the byte, and what is refused."""

import itertools

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from bigfoot.compress.bit_widths import choose_bits
from bigfoot.compress.packing import allot_bits, describe_bits, find_candidates, measure_sensitivity
from bigfoot.compress.packing_settings import Packing
from bigfoot.config.sizes import parse_bytes
from bigfoot.errors import UnfitError
from bigfoot.models.feature_encoder import PaddedAudio
from tests.codes import codes, refusing
from tests.models.test_packed import WIDE
from tests.refusals import names

LAYERS = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]),
    st.dictionaries(
        st.sampled_from([2, 4, 8]), st.tuples(st.floats(0, 9), st.integers(1, 40)), min_size=1, max_size=3
    ),
    min_size=1,
)


@settings(max_examples=40)
@given(layers=LAYERS, budget=st.integers(0, 160))
def test_the_knapsack_finds_what_trying_everything_finds(layers, budget):
    costs = {name: {bits: cost for bits, (cost, _) in found.items()} for name, found in layers.items()}
    sizes = {name: {bits: size for bits, (_, size) in found.items()} for name, found in layers.items()}
    every = [dict(zip(layers, widths, strict=True)) for widths in itertools.product(*layers.values())]
    fitting = [each for each in every if sum(sizes[name][bits] for name, bits in each.items()) <= budget]
    found = choose_bits(costs, sizes, budget)
    assert (found is None) == (not fitting)
    if found is not None:
        least = min(sum(costs[name][bits] for name, bits in each.items()) for each in fitting)
        assert found in fitting and sum(costs[name][bits] for name, bits in found.items()) == pytest.approx(least)


@settings(max_examples=8)
@given(seed=st.integers(0, 999))
def test_bytes_counted_in_units_never_break_the_budget(seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = {f"l{i}": {b: int(b * (1e5 + torch.randint(10**6, (1,), generator=generator))) for b in (2, 4, 8)}
             for i in range(9)}  # fmt: skip
    costs = {name: {2: 1.0, 4: 0.2, 8: 0.0} for name in sizes}
    least, most = (sum(pick(found.values()) for found in sizes.values()) for pick in (min, max))
    for share in (0.0, 0.3, 0.7, 1.0):
        budget = int(least + share * (most - least))
        found = choose_bits(costs, sizes, budget)
        assert found is not None and sum(sizes[name][bits] for name, bits in found.items()) <= budget


@pytest.fixture(scope="module")
def model(build_model):
    return build_model("base", **WIDE)


@pytest.fixture(scope="module")
def audio():
    wave = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    return [PaddedAudio(wave, torch.ones_like(wave, dtype=torch.bool))]


def test_a_budget_is_kept_to_the_byte_and_used(model, audio):
    uniform = {bits: find_candidates(model.config, Packing([bits], [bits], 16)) for bits in (2, 4, 8)}
    bytes_at = {bits: found.count_bytes(found.smallest()) for bits, found in uniform.items()}
    assert bytes_at[2] < bytes_at[4] < bytes_at[8]
    budget = (bytes_at[2] + bytes_at[4]) // 2
    mixed = find_candidates(model.config, Packing([2, 4, 8], [2, 4, 8], 16, max_size=str(budget)))
    costs = measure_sensitivity(model, mixed, audio)
    sums = {bits: sum(found[bits] for found in costs.values()) for bits in (2, 4, 8)}
    assert sums[2] > 2 * sums[4] > sums[8] == 0
    chosen = allot_bits(mixed, costs)
    assert len(set(chosen.values())) > 1 and mixed.count_bytes(chosen) <= budget
    assert mixed.count_bytes(chosen) > 0.97 * budget
    assert names(describe_bits(chosen, budget), f"{budget / 1e6:.2f}", *set(chosen.values()))
    with_all = find_candidates(model.config, Packing([2, 4, 8], [8], 16, max_size="1GB"))
    costs = measure_sensitivity(model, with_all, audio)
    assert sum(costs[layer][bits] for layer, bits in allot_bits(with_all, costs).items()) == 0


def test_a_model_without_a_head_has_sensitivities_too(build_model, audio):
    model = build_model("base", **WIDE | {"ctc_head": False})
    found = find_candidates(model.config, Packing([2, 4], [8], 16, max_size="1MB"))
    costs = measure_sensitivity(model, found, audio)
    assert costs["encoder.layers.1.attention.q_proj"][2] > costs["encoder.layers.1.attention.q_proj"][4] > 0


def test_the_smallest_that_can_be_reached_is_named(model):
    least = find_candidates(model.config, Packing([2], [8], 16))
    count = least.count_bytes(least.smallest())
    with refusing(("max_size", "too_small"), kind=UnfitError) as caught:
        find_candidates(model.config, Packing([2, 4], [8], 16, max_size="10kB"))
    assert names(caught.value, f"{count:,}", "10kB")
    find_candidates(model.config, Packing([2, 4], [8], 16, max_size=str(count)))
    with refusing(("max_size", "too_small"), kind=UnfitError):
        find_candidates(model.config, Packing([2, 4], [8], 16, max_size=str(count - 1)))


def test_what_a_shape_cannot_have(model, build_model):
    with refusing(("group_size", "indivisible"), kind=UnfitError) as caught:
        find_candidates(model.config, Packing([4], [8], 64))
    assert names(caught.value, 64, 16)
    odd = build_model("base").config  # 24 wide
    with refusing(("group_size", "indivisible"), kind=UnfitError) as caught:
        find_candidates(odd, Packing([4], [8], 16))
    assert names(caught.value, 16, "keep_int8")
    assert 4 not in find_candidates(odd, Packing([4], [8], 16, keep_int8=["*"])).smallest().values()
    for field in ("keep_int8", "keep_fp32"):
        with refusing((field, "no_such_layer"), kind=UnfitError):
            find_candidates(model.config, Packing([4], [8], 16, **{field: ["encoder.layers.7"]}))
    shared = build_model("base", **WIDE | {"conv_sharing": [[1, 2]]})
    bits = find_candidates(shared.config, Packing([4], [4], 16)).smallest()
    assert [bits[f"feature_extractor.conv_layers.{layer}.conv"] for layer in (1, 2, 3)] == [8, 8, 4]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Packing([3]), ("bits", "unknown_word")),
        (Packing([]), ("bits", "unknown_word")),
        (Packing([4], [5]), ("conv_bits", "unknown_word")),
        (Packing([4], group_size=20), ("group_size", "unknown_word")),
        (Packing([4], max_size="small"), ("max_size", "no_size")),
        (Packing([2, 4]), ("max_size", "missing")),
    ],
)
def test_settings_that_cannot_be(settings, expected):
    assert codes(settings.find_problems()) == [expected]


@pytest.mark.parametrize(
    ("text", "count"),
    [("7MB", 7_000_000), ("7", 7), ("1.5 kb", 1500), ("2 MiB", 2**21), ("0MB", None), ("MB", None), ("-1", None)],
)
def test_sizes_as_people_write_them(text, count):
    assert parse_bytes(text) == count
