"""WavLM's position bias: its buckets, its gates, both roads through attention, and layers with fewer heads."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from bigfoot.models.relative_bias import RelativePositionAttention, relative_buckets
from bigfoot.models.reshape import load_plain_state, plain_state, reshape_config


@pytest.mark.parametrize(("num_buckets", "max_distance"), [(320, 800), (32, 60), (4, 2), (16, 1000)])
def test_every_distance_of_a_minute_falls_into_transformers_bucket(num_buckets, max_distance):
    distances = torch.arange(-3000, 3001)
    theirs = WavLMAttention(4, 1, num_buckets=num_buckets, max_distance=max_distance)
    expected = theirs._relative_positions_bucket(distances)
    assert torch.equal(relative_buckets(distances, num_buckets, max_distance), expected)
    assert set(expected.tolist()) <= set(range(num_buckets))


@given(st.integers(4, 400), st.integers(1, 900), st.integers(-5000, 5000))
def test_buckets_by_hand(num_buckets, further, distance):
    side = num_buckets // 2
    exact = side // 2
    found = int(relative_buckets(torch.tensor([distance]), num_buckets, exact + further)[0])
    assert (found >= side) == (distance > 0)
    near = found - side * (distance > 0)
    if abs(distance) < exact:
        assert near == abs(distance)
    else:
        share = math.log(abs(distance) / exact) / math.log((exact + further) / exact)
        # Single precision may put a distance on the border into either neighbour.
        assert near in {min(side - 1, int(exact + share * (side - exact) + slack)) for slack in (-1e-3, 0, 1e-3)}


def test_the_bias_of_every_pair_is_a_lookup():
    attention = RelativePositionAttention(6, 2, 3, 0.0, [0, 1], 16, 20)
    bias = attention.compute_position_bias(40)
    assert bias.shape == (2, 40, 40)
    for query, key in ((0, 0), (0, 39), (39, 0), (7, 30), (30, 7)):
        bucket = relative_buckets(torch.tensor(key - query), 16, 20)
        assert torch.equal(bias[:, query, key], attention.rel_attn_embed.weight[bucket])
    theirs = WavLMAttention(6, 2, num_buckets=16, max_distance=20)
    theirs.rel_attn_embed.weight = attention.rel_attn_embed.weight
    assert torch.equal(bias, theirs.compute_bias(40, 40))


def test_weights_averaged_over_heads_are_transformers(build_huggingface, speech, tmp_path):
    from bigfoot.formats.folder import load_model

    theirs = build_huggingface("wavlm")
    theirs.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = theirs(speech[0], output_attentions=True).attentions
        found = load_model(tmp_path).model(speech[0], output_attentions=True).attentions
    for here, there in zip(found, expected, strict=True):
        torch.testing.assert_close(here.mean(1), there[:, 0], rtol=0, atol=1e-5)


def test_the_bias_changes_the_answer(build_model, speech):
    model = build_model("wavlm")
    with torch.no_grad():
        before = model(speech[0]).logits
        model.speech_encoder.encoder.layers[0].attention.rel_attn_embed.weight.zero_()
        assert (model(speech[0]).logits - before).abs().max() > 1e-2


def gradients(model, speech, output_attentions):
    model.zero_grad()
    output = model(speech[:, :8000], torch.ones(1, 8000, dtype=torch.bool), output_attentions=output_attentions)
    output.logits.square().mean().backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_both_roads_have_the_same_gradients(build_model, speech):
    model = build_model("wavlm").train()
    fused, written_out = (gradients(model, speech[0], way) for way in (False, True))
    learning = [name for name in fused if "rel_attn_embed" in name or "gru_rel_pos" in name]
    assert len(learning) == 1 + 3 * 3
    for name in fused:
        torch.testing.assert_close(fused[name], written_out[name], rtol=1e-3, atol=1e-6)
    assert all(fused[name].abs().max() > 0 for name in learning)


def test_fewer_heads_are_the_same_heads_without_the_others(build_model, speech):
    """A layer that keeps heads 0 and 2, and one that keeps 1, answer as the whole one with the others silenced."""
    whole, kept = build_model("wavlm"), {1: [0, 2], 2: [1]}
    state = plain_state(whole)
    smaller = {name: tensor.clone() for name, tensor in state.items()}
    for layer, heads in kept.items():
        name = f"encoder.encoder.layers.{layer}.attention."
        rows = torch.cat([torch.arange(8) + 8 * head for head in heads])
        for part in ("q_proj", "k_proj", "v_proj"):
            smaller[f"{name}{part}.weight"] = state[f"{name}{part}.weight"][rows]
            smaller[f"{name}{part}.bias"] = state[f"{name}{part}.bias"][rows]
        smaller[f"{name}out_proj.weight"] = state[f"{name}out_proj.weight"][:, rows]
        smaller[f"{name}gru_rel_pos_const"] = state[f"{name}gru_rel_pos_const"][:, heads]
        silent = [column for column in range(24) if column not in rows.tolist()]
        state[f"{name}out_proj.weight"][:, silent] = 0.0
    load_plain_state(whole, state)
    shape = reshape_config(
        whole.config, layer_num_attention_heads=[3, 2, 1], layer_position_heads=[[0, 1, 2], [0, 2], [1]]
    )
    pruned = type(whole)(shape).eval()
    load_plain_state(pruned, smaller)
    with torch.no_grad():
        here, there = (model(speech[0], output_hidden_states=True) for model in (pruned, whole))
    for mine, other in zip(here.hidden_states, there.hidden_states, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-5)
    assert pruned(speech[0], output_attentions=True).attentions[2].shape[1] == 1


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("output_attentions", [False, True])
def test_half_precision_stays_close(build_model, speech, precision, output_attentions):
    # An odd positional kernel: see bigfoot.training.guards on even ones.
    model = build_model("wavlm", num_conv_pos_embeddings=15)
    wave = speech[0][:, :8000]
    with torch.no_grad():
        expected = model(wave).logits
        with torch.autocast("cpu", precision):
            found = model(wave, torch.ones_like(wave, dtype=torch.bool), output_attentions=output_attentions).logits
    assert (found.float() - expected).norm() < 0.1 * expected.norm()
