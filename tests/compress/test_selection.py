"""Greedy choice against least squares done anew for every candidate."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.compress.selection import Reader, select_units


def explained(inputs, weight, columns):
    """Share of the energy of what is read that some inputs explain."""
    read = inputs @ weight.T
    found, *_ = np.linalg.lstsq(inputs[:, columns], read, rcond=None)
    return 1 - np.square(read - inputs[:, columns] @ found).sum() / np.square(read).sum()


def choose_plainly(inputs_by_reader, weights, count, keep, size, blocks):
    chosen = []
    while len(chosen) < keep:
        best, most = None, -1.0
        for unit in range(count):
            full = sum(each * blocks // count == unit * blocks // count for each in chosen) == keep // blocks
            if unit in chosen or full:
                continue
            columns = [each * size + at for each in [*chosen, unit] for at in range(size)]
            share = sum(explained(x, w, columns) for x, w in zip(inputs_by_reader, weights, strict=True))
            if share > most:
                best, most = unit, share
        chosen.append(best)
    return sorted(chosen)


@pytest.mark.slow
@given(
    seed=st.integers(0, 999), size=st.sampled_from([1, 3]), readers=st.integers(1, 2), blocks=st.sampled_from([1, 2])
)  # fmt: skip
def test_every_choice_is_the_best_by_least_squares(seed, size, readers, blocks):
    drawn, count, keep = np.random.default_rng(seed), 6, 4
    mixed = [drawn.normal(size=(60, count * size)) @ drawn.normal(size=(count * size,) * 2) for _ in range(readers)]
    weights = [drawn.normal(size=(5, count * size)) for _ in range(readers)]
    entries = [
        Reader(torch.from_numpy(x.T @ x), torch.from_numpy(w)) for x, w in zip(mixed, weights, strict=True)
    ]  # fmt: skip
    chosen = select_units(entries, count, keep, blocks)
    plain = choose_plainly(mixed, weights, count, keep, size, blocks)
    assert chosen == plain


@pytest.mark.parametrize("loud", [0.1, 10.0])
def test_what_another_unit_says_too_goes_however_loud_it_is(loud):
    inputs = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    inputs[:, 3] = loud * inputs[:, 1]
    chosen = select_units([Reader(inputs.T @ inputs, torch.eye(4))], 4, 3)
    assert len({1, 3} & set(chosen)) == 1 and {0, 2} <= set(chosen)


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("seed", range(10))
def test_where_nothing_is_left_to_explain_rounding_chooses_no_unit_twice(seed, size):
    drawn, count, keep = torch.Generator().manual_seed(seed), 128 // size, 96 // size
    loudness = 10 ** (3 * torch.rand(count * size, generator=drawn))
    inputs = (torch.randn(2, count * size, generator=drawn) * loudness).clamp(min=0)  # fewer frames than units
    chosen = select_units([Reader(inputs.T @ inputs, torch.randn(12, count * size, generator=drawn))], count, keep)
    assert chosen == sorted(set(chosen)) and len(chosen) == keep and 0 <= chosen[0] <= chosen[-1] < count
