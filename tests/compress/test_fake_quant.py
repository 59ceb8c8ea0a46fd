"""Rounding in training: values and gradients against plain loops, first steps against a search."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from bigfoot.compress.fake_quant import Int8Input, Int8Weight, PackedWeight, fit_steps, learned_rounding
from bigfoot.models.fake_int8 import FakeInt8
from bigfoot.models.packed import as_matrix, code_range, from_matrix, quantize_groups, restore_groups
from bigfoot.models.small_weights import quantize_weight

SEEDS = st.integers(0, 10_000)


FEW = settings(max_examples=25)


def plain_rounding(x, step, low, high):
    """LSQ by one number: what it is rounded to, and its gradients to number and step (equations 1 to 3 and 5)."""
    share = np.float32(x) / np.float32(step)
    if share <= low:
        return low * step, 0.0, float(low)
    if share >= high:
        return high * step, 0.0, float(high)
    return round(float(share)) * step, 1.0, round(float(share)) - float(share)


@FEW
@given(seed=SEEDS, bits=st.sampled_from([2, 4, 8]))
def test_values_and_gradients_against_a_plain_loop(seed, bits):
    generator = torch.Generator().manual_seed(seed)
    (low, high), step = code_range(bits), torch.rand((), generator=generator) * 0.4 + 0.05
    x = (torch.randn(30, generator=generator) * step * high).requires_grad_()
    step, above = step.requires_grad_(), torch.randn(30, generator=generator)
    y = learned_rounding(x, step, low, high)
    (y * above).sum().backward()
    total = 0.0
    for number, found, slope, weight in zip(x.tolist(), y.tolist(), x.grad.tolist(), above.tolist(), strict=True):
        value, to_number, to_step = plain_rounding(number, step.item(), low, high)
        assert found == pytest.approx(value, rel=1e-6, abs=1e-6)
        assert slope == pytest.approx(weight * to_number)
        total += weight * to_step
    assert step.grad.item() == pytest.approx(total, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("shape", [(6, 32), (6, 16, 4)])
@pytest.mark.parametrize("bits", [2, 4])
def test_groups_of_a_weight_have_steps_of_their_own(shape, bits):
    torch.manual_seed(bits)
    weight = torch.randn(shape, requires_grad=True)
    rounding = PackedWeight(weight, bits, group_size=16)
    above = torch.randn(shape)
    (rounding(weight) * above).sum().backward()
    steps, matrix = rounding.stored_steps(), as_matrix(weight.detach())
    codes = quantize_groups(matrix, steps, bits)
    assert torch.equal(rounding(weight), restore_groups(codes, steps, shape))
    slopes = as_matrix(above)
    for row in range(6):
        for group in range(steps.shape[1]):
            step, total = steps[row, group].item(), 0.0
            for column in range(16 * group, 16 * group + 16):
                _, _, to_step = plain_rounding(matrix[row, column].item(), step, *code_range(bits))
                total += to_step * slopes[row, column].item()
            # Shares are learned, and the gradient is scaled by 1 / sqrt(numbers * highest integer).
            expected = total * rounding.start[row, group].item() / (16 * code_range(bits)[1]) ** 0.5
            found = rounding.shares.grad.view_as(steps)[row, group].item()
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)


@FEW
@given(seed=SEEDS, fine=st.booleans())
def test_inputs_are_rounded_as_a_folder_rounds_them(seed, fine):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 5, 7, generator=generator).requires_grad_()
    low, high = x.min().item() * 0.7, x.max().item() * 0.8
    rounding = Int8Input(min(low, 0.0), max(high, 0.0), fine=fine)
    with torch.no_grad():
        rounding.shares.mul_(0.9)
    y = rounding(x)
    assert torch.equal(y, FakeInt8(rounding.ends(), fine=fine)(None, (x.detach(),))[0])
    y.sum().backward()
    if fine:
        assert torch.equal(x.grad, torch.ones_like(x)) and not rounding.shares.requires_grad
        return
    step, last = rounding.start.item() * rounding.shares.item(), 255 - rounding.offset
    expected = sum(plain_rounding(number, step, -rounding.offset, last)[2] for number in x.flatten().tolist())
    scale = (x.numel() * max(1, last)) ** -0.5 * rounding.start.item()
    assert rounding.shares.grad.item() == pytest.approx(expected * scale, rel=2e-3, abs=1e-5)


def test_weights_of_eight_bits_are_those_of_every_int8_file():
    weight = torch.randn(5, 4, 3, requires_grad=True)
    integers, scales = quantize_weight(weight)
    y = Int8Weight()(weight)
    assert torch.equal(y, integers * scales[:, None, None])
    y.sum().backward()
    assert torch.equal(weight.grad, torch.ones_like(weight))


@pytest.mark.parametrize("bits", [2, 4])
def test_first_steps_are_better_than_the_largest_number_and_lsqs(bits):
    matrix = torch.randn(8, 64, generator=torch.Generator().manual_seed(0)) ** 3

    def error(steps):
        return (restore_groups(quantize_groups(matrix, steps, bits), steps, matrix.shape) - matrix).square().sum()

    groups, (low, high) = matrix.view(8, 2, 32).abs(), code_range(bits)
    found = error(fit_steps(matrix, bits, 32))
    others = (groups.amax(-1) / -low, 2 * groups.mean(-1) / high**0.5)
    assert all(found < error(steps.half().float()) for steps in others)
    assert (fit_steps(torch.zeros(2, 32), bits, 32) > 0).all()


def test_a_matrix_and_its_kernel():
    kernel = torch.arange(24.0).view(2, 3, 4)
    assert as_matrix(kernel)[0, :3].tolist() == kernel[0, :, 0].tolist()
    assert torch.equal(from_matrix(as_matrix(kernel), kernel.shape), kernel)
