import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.distill.packing import Packing
from bigfoot.errors import DataError
from tests.refusals import refused


def size_of(packed):
    return sum(tensor.numel() * tensor.element_size() for tensor in packed.values())


@given(st.integers(0, 2**31), st.integers(0, 30), st.sampled_from(["fp16", "int8"]), st.sampled_from([0, 1, 3, 6]))
def test_there_and_back(seed, frames, dtype, top_k):
    x = torch.randn(frames, 6, generator=torch.Generator().manual_seed(seed)) * torch.tensor([0.0, 1, 1, 1, 1e-3, 900])
    packing = Packing(dtype, top_k)
    packed = packing.pack("hidden_states", x)
    assert tuple(packed) == packing.parts("hidden_states", 6)
    assert size_of(packed) == packing.count_bytes("hidden_states", frames, 6)
    found = packing.unpack("hidden_states", packed, 6)
    # Half a step of the channel's own 127 for bytes; half of the last of eleven bits for halves.
    allowed = x.abs().amax(0) / 254 if dtype == "int8" and frames else x.abs() / 2048
    assert found.shape == x.shape and ((found - x).abs() <= allowed * 1.001 + 6e-8).all()


@given(st.integers(0, 2**31), st.integers(0, 9), st.sampled_from([0, 1, 3, 6, 9]))
def test_logits_keep_the_likeliest_and_share_the_rest(seed, frames, top_k):
    logits = 3 * torch.randn(frames, 6, generator=torch.Generator().manual_seed(seed))
    packing = Packing("int8", top_k)
    packed = packing.pack("logits", logits)
    assert tuple(packed) == packing.parts("logits", 6)
    assert size_of(packed) == packing.count_bytes("logits", frames, 6)
    found = packing.unpack("logits", packed, 6).double().softmax(-1)
    exact = logits.double().softmax(-1)
    kept = exact.argsort(-1, descending=True)[:, : top_k or 6]
    assert ((found - exact).gather(1, kept).abs() < 5e-3).all()
    for row, best in zip(range(frames), kept.tolist(), strict=True):
        others = [token for token in range(6) if token not in best]
        if others:
            share = float(exact[row, others].sum()) / len(others)
            assert found[row, others].tolist() == pytest.approx([share] * len(others), abs=5e-3)


def test_what_half_precision_cannot_hold_is_reported():
    x = torch.tensor([[1.0, 1e5]])
    with refused(DataError, "hidden_states", "1e+05", "cache_dtype=int8"):
        Packing("fp16", 0).pack("hidden_states", x)
    packing = Packing("int8", 0)
    assert packing.unpack("hidden_states", packing.pack("hidden_states", x), 2).tolist() == [[1.0, 1e5]]
    with pytest.raises(DataError):
        Packing("int8", 0).pack("attention_values", torch.tensor([[torch.nan]]))
