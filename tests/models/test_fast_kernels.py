"""The fast roads on a CPU against the written-out ones: outputs, losses and gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bigfoot.data.batches import LoadedUtterance, collate
from bigfoot.distill import CTCLoss, HiddenLoss, LogitKLLoss, LossesConfig
from bigfoot.distill.objective import Objective
from bigfoot.models import dropout
from bigfoot.models.dropout import Drawn, Dropout, attend
from bigfoot.models.feature_encoder import masked_group_norm
from bigfoot.models.kernels import has_fast_kernels, plain_kernels
from bigfoot.models.norm_activation import norm_and_gelu
from bigfoot.models.wide_conv import WideConv1d, convolve_by_blocks

LOSSES = LossesConfig(LogitKLLoss(0.7, 2.0), HiddenLoss(0.3), ctc=CTCLoss(0.2))
WIDE = {"num_conv_pos_embeddings": 33}


def losses_and_gradients(objective, batch, masks):
    torch.manual_seed(5)
    terms = objective(batch, masks)
    loss = sum(objective.weights[name] * term.mean() for name, term in terms.items())
    loss.backward()
    values = {name: float(term.mean()) for name, term in terms.items()}
    gradients = {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}
    objective.zero_grad()
    return values, gradients


@pytest.mark.parametrize("structure", ["base", "large-lv60", "wavlm", "conformer", "sew"])
def test_a_step_has_the_losses_and_gradients_of_the_written_out_one(structure, build_model, speech, processor):
    student = build_model(structure, seed=2, num_hidden_layers=2, **WIDE)
    objective = Objective(LOSSES, student, build_model(structure, seed=1, **WIDE)).train()
    rows = [LoadedUtterance(str(i), "s", "ONE", speech[0][0, : 16_000 - 3_000 * i].numpy()) for i in range(3)]
    batch = collate(rows, processor)
    masks = {"mask_time_indices": torch.zeros(3, 49 // student.config.frames_per_output, dtype=torch.bool)}
    masks["mask_time_indices"][0, 3:6] = True
    fast, found = losses_and_gradients(objective, batch, masks)
    with plain_kernels():
        plain, expected = losses_and_gradients(objective, batch, masks)
    assert fast == pytest.approx(plain, rel=1e-4)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        limit = 1e-4 * float(gradient.abs().max()) + 1e-7
        torch.testing.assert_close(found[name], gradient, atol=limit, rtol=1e-3, msg=name)


@settings(max_examples=25)
@given(
    width=st.integers(32, 41), frames=st.integers(1, 150), padding=st.integers(0, 25),
    groups=st.sampled_from([1, 2, 4]), seed=st.integers(0, 99),
)  # fmt: skip
def test_a_wide_convolution_and_its_gradients(width, frames, padding, groups, seed):
    torch.manual_seed(seed)
    frames = max(frames, width - 2 * padding)
    conv = WideConv1d(4, 8, width, padding=padding, groups=groups)
    x = torch.randn(2, 4, frames, requires_grad=True)
    given = [x, conv.weight, conv.bias]
    found = convolve_by_blocks(x, conv.weight, padding, groups) + conv.bias[:, None]
    plain = nn.functional.conv1d(*given, padding=padding, groups=groups)
    torch.testing.assert_close(conv(x), plain, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-5)
    towards = torch.randn_like(plain)
    pairs = zip(torch.autograd.grad(found, given, towards), torch.autograd.grad(plain, given, towards), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@settings(max_examples=25)
@given(lengths=st.lists(st.just(0) | st.integers(5, 30), min_size=1, max_size=3), offset=st.sampled_from([0.0, 100.0]))
def test_norm_and_activation_over_real_frames(lengths, offset):
    torch.manual_seed(0)
    x = (torch.randn(len(lengths), 5, 30) + offset).requires_grad_()
    given = [x, torch.randn(5, requires_grad=True), torch.randn(5, requires_grad=True)]
    counts = torch.tensor(lengths)
    real = (torch.arange(30) < counts[:, None])[:, None]
    found = norm_and_gelu(x, counts, *given[1:], 1e-5)
    plain = nn.functional.gelu(masked_group_norm(x, counts, *given[1:], 1e-5)) * real
    torch.testing.assert_close(found, plain, atol=2e-4 if offset else 1e-5, rtol=1e-4)
    towards = torch.randn_like(plain) * real
    pairs = zip(torch.autograd.grad(found, given, towards), torch.autograd.grad(plain, given, towards), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def test_parts_of_a_long_utterance(monkeypatch):
    monkeypatch.setattr("bigfoot.models.norm_activation._PART", 64)
    test_norm_and_activation_over_real_frames.hypothesis.inner_test([30, 7], 0.0)


@pytest.mark.parametrize("kind", ["none", "keys", "one for all", "numbers"])
def test_attention_that_drops_weights(kind, monkeypatch):
    torch.manual_seed(1)
    given = [torch.randn(3, 7, 2, 4).transpose(1, 2).requires_grad_() for _ in range(3)]
    masks = {
        "none": None, "keys": (torch.arange(7) < torch.tensor([[7], [4], [1]]))[:, None, None],
        "one for all": torch.ones(1, 1, 7, 7).tril().bool(), "numbers": torch.randn(3, 2, 7, 7, requires_grad=True),
    }  # fmt: skip
    mask = masks[kind]
    drawn = Drawn.draw(torch.Size([3, 2, 7, 7]), 0.3)
    monkeypatch.setattr(Drawn, "draw", lambda shape, rate: drawn)
    found = attend(*given, mask, 0.3)
    scores = given[0] @ given[1].transpose(-1, -2) / 2
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    plain = (scores.softmax(-1) * drawn.keep() * drawn.factor) @ given[2]
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-5)
    towards, inputs = torch.randn_like(plain), given + [mask] * (kind == "numbers")
    pairs = zip(torch.autograd.grad(found, inputs, towards), torch.autograd.grad(plain, inputs, towards), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("rate", [0.0001, 0.1, 0.5, 0.9999])
def test_dropout_keeps_its_share_and_the_mean(rate):
    torch.manual_seed(0)
    x = torch.full((1000, 1000), 2.0, requires_grad=True)
    found = Dropout(rate)(x)
    dropped = float((found == 0).float().mean())
    assert dropped == pytest.approx(rate, abs=2e-3)
    kept = found[found != 0]
    assert kept[0].item() == pytest.approx(2 / (1 - rate), rel=0.1 if rate > 0.99 else 1e-4)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close(gradient, found.detach() / 2)


def test_dropout_follows_torchs_generator_and_stops_outside_training():
    x, layer = torch.ones(50), Dropout(0.5)
    state = torch.get_rng_state()
    one, other = layer(x), layer(x)
    torch.set_rng_state(state)
    assert torch.equal(layer(x), one) and not torch.equal(one, other)
    assert torch.equal(layer.eval()(x), x)
    assert not dropout.dropout(x, 1.0, training=True).any()


def test_where_there_is_no_fast_road():
    x = torch.ones(1)
    assert has_fast_kernels(x) and not has_fast_kernels(x, x.half()) and not has_fast_kernels(x.to("meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not has_fast_kernels(x)
    with plain_kernels():
        assert not has_fast_kernels(x)
    assert has_fast_kernels(x)


@pytest.mark.slow
def test_a_recorded_program_takes_any_length():
    conv = WideConv1d(4, 4, 32, padding=16, groups=2).eval()
    program = torch.export.export(
        conv, (torch.randn(1, 4, 50),), dynamic_shapes=({2: torch.export.Dim("frames", min=40, max=4000)},)
    ).module()
    for frames in (50, 90, 3000):
        x = torch.randn(1, 4, frames)
        assert torch.allclose(program(x), conv(x), atol=1e-5)
