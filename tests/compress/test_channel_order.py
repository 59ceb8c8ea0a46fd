"""The order of channels: no answer changes, and the diagonal blocks hold more."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.compress.channel_order import choose_orders, kept_energy, kernel_energies, reorder_channels


def plain_share(energies, orders, groups):
    """Element by element: what connects channels of the same block."""
    kept = whole = 0.0
    for layer in range(1, len(energies)):
        if groups[layer] == 1:
            continue
        out, into = orders[layer].tolist(), orders[layer - 1].tolist()
        for row, channel in enumerate(out):
            for column, before in enumerate(into):
                energy = float(energies[layer][channel, before])
                whole += energy
                kept += energy * (row * groups[layer] // len(out) == column * groups[layer] // len(into))
    return kept / whole


@pytest.mark.slow
@given(seed=st.integers(0, 99), groups=st.lists(st.sampled_from([1, 2, 4]), min_size=3, max_size=3).filter(any))
def test_it_is_never_worse_than_the_present_order_and_counts_as_a_plain_loop_does(seed, groups):
    generator = torch.Generator().manual_seed(seed)
    groups, sizes = [1, *groups], (4, 8, 4, 8)
    if max(groups) == 1:
        groups[1] = 2
    energies = [
        torch.rand(out, into, generator=generator, dtype=torch.float64) ** 4
        for out, into in zip(sizes, (1, *sizes), strict=False)
    ]
    present, found = [torch.arange(size) for size in sizes], choose_orders(energies, groups)
    assert [sorted(order.tolist()) for order in found] == [list(range(size)) for size in sizes]
    assert found[-1].tolist() == list(range(sizes[-1]))
    share = kept_energy(energies, found, groups)
    assert share == pytest.approx(plain_share(energies, found, groups))
    assert share >= kept_energy(energies, present, groups) - 1e-12


@pytest.mark.parametrize("count", [2, 4])
def test_blocks_that_were_shuffled_are_found_again(count):
    generator = torch.Generator().manual_seed(count)
    block = torch.eye(count).repeat_interleave(8 // count, 0).repeat_interleave(8 // count, 1)
    orders = [torch.randperm(8, generator=generator) for _ in range(3)] + [torch.arange(8)]
    energies = [torch.ones(8, 1).double()]
    for layer in range(1, 4):
        energies.append(block[orders[layer].argsort()][:, orders[layer - 1].argsort()].double())
    found = choose_orders(energies, [1, count, count, count])
    assert kept_energy(energies, found, [1, count, count, count]) == 1.0


@pytest.mark.parametrize("structure", ["base", "large-lv60"])
def test_another_order_gives_the_same_answers(build_model, speech, structure):
    model = build_model(structure)
    generator = torch.Generator().manual_seed(1)
    orders = [torch.randperm(len(energy), generator=generator) for energy in kernel_energies(model)]
    orders[-1] = torch.arange(len(orders[-1]))
    other = reorder_channels(model, orders)
    with torch.no_grad():
        ours, theirs = other(speech[0]), model(speech[0])
    for one, two in zip(other.speech_encoder.feature_encoder, model.speech_encoder.feature_encoder, strict=True):
        assert not torch.equal(one.conv.weight, two.conv.weight)
    torch.testing.assert_close(ours.conv_features, theirs.conv_features, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=0, atol=1e-4)
