"""Attention of packed rows against attention with a mask; the kernel is a plain loop over segments here."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.models import dropout
from bigfoot.models.packed_attention import attend_packed, can_pack, find_kernel, masks_padding


def segment_by_segment(query, key, value, edges, key_edges, longest, longest_key):
    assert torch.equal(edges, key_edges) and edges.dtype == torch.int32 and longest == longest_key
    out = torch.full_like(query, torch.nan)
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        q, k, v = (part[start:end].transpose(0, 1) for part in (query, key, value))
        out[start:end] = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(0, 1)
    return out


@settings(max_examples=30)
@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=4), heads=st.integers(1, 3), seed=st.integers(0, 9))
def test_real_frames_attend_as_with_a_mask(lengths, heads, seed):
    torch.manual_seed(seed)
    frames = max(*lengths, 1)
    real = torch.arange(frames) < torch.tensor(lengths)[:, None]
    mask = (real | ~real.any(-1, keepdim=True))[:, None, None]
    query, key, value = (torch.randn(len(lengths), frames, heads, 4).transpose(1, 2).requires_grad_() for _ in range(3))
    assert masks_padding(query, mask)
    weights = torch.randn(len(lengths), heads, frames, 4) * real[:, None, :, None]
    found = attend_packed(query, key, value, mask, segment_by_segment)
    ours = torch.autograd.grad((found * weights).sum(), (query, key, value))
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask)
    theirs = torch.autograd.grad((expected * weights).sum(), (query, key, value))
    assert found.isfinite().all()
    there = real[:, None].expand(-1, heads, -1)
    torch.testing.assert_close(found[there], expected[there])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("structure", ["base", "large-lv60", "sew", "conformer"])
def test_a_model_with_packed_attention_gives_the_same(structure, build_model, speech, monkeypatch):
    model = build_model(structure)
    waves = torch.zeros(2, 9000)
    waves[0], waves[1, :4000] = speech[0][0, :9000], speech[0][0, :4000]
    mask = torch.arange(9000) < torch.tensor([[9000], [4000]])
    with torch.no_grad():
        expected = model(waves, mask)
        calls = []
        monkeypatch.setattr(dropout, "can_pack", lambda query, mask, rate: masks_padding(query, mask))
        monkeypatch.setattr(
            dropout, "attend_packed", lambda *given: calls.append(1) or attend_packed(*given, segment_by_segment)
        )
        found = model(waves, mask)
    # Positions in the scores are a mask of their own, which no packed kernel takes.
    assert bool(calls) == (structure != "conformer")
    torch.testing.assert_close(found.logits[found.frame_mask], expected.logits[found.frame_mask], atol=1e-5, rtol=1e-4)


def test_where_it_is_not_used():
    one, mask = torch.zeros(2, 1, 3, 8, dtype=torch.bfloat16), torch.ones(2, 1, 1, 3, dtype=torch.bool)
    assert find_kernel() is not None
    assert not can_pack(one, mask, 0.0)  # on a CPU
    assert not masks_padding(one, None) and not masks_padding(one, mask.expand(2, 1, 3, 3))
    assert not masks_padding(one, mask.float())
