import pytest
import torch

from bigfoot.measure import peak
from bigfoot.measure.peak import build_product, find_peak_product, share_of_peak


def test_a_product_multiplies():
    product = build_product(24)
    product()
    torch.testing.assert_close(product.out, torch.einsum("ij,jk->ik", product.left, product.right))
    assert (product.size, product.macs) == (24, 24**3)
    assert not torch.equal(product.left, product.right)


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ({8: 10, 16: 10.2, 32: 99}, 8),  # no faster: small enough
        ({8: 10, 16: 14, 32: 14.5, 64: 99}, 16),
        ({8: 10, 16: 14, 32: 20, 64: 99}, 64),  # the largest that is allowed
        ({8: 1e-3, 16: 99}, 8),  # a larger one would take too long
    ],
)
def test_the_smallest_product_that_is_as_fast_as_larger_ones(rates, chosen, monkeypatch):
    seen = []

    def fake_try(size):
        seen.append((size, torch.get_num_threads()))
        return build_product(size), size**3 / rates[size] / 1e6

    monkeypatch.setattr(peak, "_SMALLEST", 8)
    monkeypatch.setattr(peak, "_LARGEST", 64)
    monkeypatch.setattr(peak, "_try", fake_try)
    before = torch.get_num_threads()
    assert find_peak_product(threads=2).size == chosen
    assert {threads for _, threads in seen} == {2} and torch.get_num_threads() == before


def test_shares_are_taken_round_by_round():
    # Twice as slow a machine in the second round: the share is the same, and an average of times would not see it.
    assert share_of_peak([1.0, 2.0], 50.0, [100.0, 50.0]) == 0.5
    assert share_of_peak([0.0], 0.0, [100.0]) == 0.0
