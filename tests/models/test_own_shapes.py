"""Shapes that only our encoder takes: missing blocks, maps used again, fewer frames, thin convolutions, low ranks."""

import pytest
import torch
from torch import nn

from bigfoot.compress.depth import Depth, shrink_shape
from bigfoot.compress.depth import apply as shrink
from bigfoot.errors import ModelError
from bigfoot.formats.dense import densify
from bigfoot.formats.folder import LoadedModel, load_model, save_model
from bigfoot.measure.size import measure_size
from bigfoot.measure.summary import summarize_model
from bigfoot.models import BigfootConfig, BigfootForCTC
from bigfoot.models.ctc import compute_ctc_losses
from bigfoot.models.reshape import load_plain_state, plain_state, reshape_config
from tests.pairwise import pairwise
from tests.refusals import refused

THIN = {"conv_dim": [4, 8, 8, 8, 8, 8, 24, 24, 24], "conv_kernel": [10, 1, 3, 3, 3, 3, 1, 2, 2],
        "conv_stride": [5, 1, 2, 2, 2, 2, 1, 2, 2]}  # fmt: skip
RANKS = [{"q_proj": 5, "out_proj": 7}, {}, {"intermediate_dense": 3, "output_dense": 4, "v_proj": 1}]
SHAPES = {
    "no projection": {"feature_projection": "none", "conv_dim": [8, 8, 8, 16, 16, 16, 24]},
    "maps used again": {"attention_reuse": [None, 0, 0]},
    "missing blocks": {"layer_num_attention_heads": [0, 3, 2], "layer_intermediate_sizes": [40, 0, 8]},
    "an empty layer": {"layer_num_attention_heads": [3, 0, 3], "layer_intermediate_sizes": [40, 0, 40]},
    "half the frames": {"time_reduction": 2},
    "a third of the frames": {"time_reduction": 3},
    "thin and 1x1 convolutions": THIN,
    "low ranks": {"layer_ranks": RANKS},
    "all": THIN | {"feature_projection": "none", "attention_reuse": [None, 0, None], "time_reduction": 2,
                   "layer_intermediate_sizes": [8, 40, 0], "layer_ranks": [{"v_proj": 2}, {"out_proj": 3}, {}]},
}  # fmt: skip


STRUCTURES = ("base", "large-lv60", "wavlm", "hubert-without-norm", "data2vec")
DENSE = ("no projection", "missing blocks", "an empty layer", "low ranks")


def comes_back_to_the_bit(model, processor, speech, tmp_path):
    assert (model.config.weight_prefix == "bigfoot") != model.config.is_huggingface_shape
    save_model(model, processor, tmp_path / "model")
    again = load_model(tmp_path / "model").model
    bare = BigfootForCTC.from_pretrained(tmp_path / "model").eval()
    for found in (again, bare):
        assert found.state_dict().keys() == model.state_dict().keys()
        assert all(torch.equal(found.state_dict()[key], tensor) for key, tensor in model.state_dict().items())
    with torch.no_grad():
        assert torch.equal(again(speech[0]).logits, model(speech[0]).logits)


def is_not_changed_by_padding(model, processor, speech, tmp_path):
    waves = [speech[0][0], speech[0][0, :4321], speech[1][0, :7000], speech[1][0, :211]]
    mask = torch.stack([torch.arange(len(speech[0][0]) + 999) < len(wave) for wave in waves])
    values = torch.full(mask.shape, 1e3)
    for row, wave in enumerate(waves):
        values[row, : len(wave)] = wave
    with torch.no_grad():
        batch = model(values, mask, output_hidden_states=True)
        assert torch.isfinite(batch.logits).all()
        for row, wave in enumerate(waves):
            frames = int(model.speech_encoder.feature_encoder.frame_lengths(torch.tensor(len(wave))))
            assert int(batch.frame_mask[row].sum()) == frames
            if frames == 0:
                continue
            alone = model(wave[None], output_hidden_states=True)
            assert alone.logits.shape[1] == frames
            torch.testing.assert_close(batch.logits[row, :frames], alone.logits[0], rtol=0, atol=1e-4)
            for here, there in zip(batch.hidden_states, alone.hidden_states, strict=True):
                torch.testing.assert_close(here[row, :frames], there[0], rtol=0, atol=1e-4)


def is_carried_to_another_model_by_plain_names(model, processor, speech, tmp_path):
    other = BigfootForCTC(reshape_config(model.config)).eval()
    load_plain_state(other, plain_state(model))
    with torch.no_grad():
        assert torch.equal(other(speech[0]).logits, model(speech[0]).logits)


@pytest.mark.grid
@pytest.mark.parametrize("name", SHAPES)
def test_it_learns_in_every_parameter(name, build_model, speech):
    model = build_model(**SHAPES[name]).train()
    loss = model(speech[0], labels=torch.tensor([[5, 6]])).loss
    loss.backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None and "masked_spec_embed" not in name]
    assert idle == [] and torch.isfinite(loss)


def is_counted_in_size_and_layers(model, processor, speech, tmp_path):
    size = measure_size(model, seconds=1.0)
    facts = summarize_model(LoadedModel(model, processor))
    assert size.num_unique_params == sum(tensor.numel() for tensor in model.parameters())
    rest = sum(p.numel() for key, p in model.named_parameters() if key.endswith("masked_spec_embed"))
    assert sum(layer.num_params for layer in facts.layers) == size.num_unique_params - rest
    assert all(macs > 0 for macs in size.macs_by_part.values())


CHECKS = (comes_back_to_the_bit, is_not_changed_by_padding, is_carried_to_another_model_by_plain_names,
          is_counted_in_size_and_layers)  # fmt: skip


@pytest.mark.grid
@pytest.mark.parametrize(("check", "name", "structure"), pairwise(CHECKS, SHAPES, STRUCTURES))
def test_every_shape(check, name, structure, build_model, processor, speech, tmp_path):
    check(build_model(structure, **SHAPES[name]), processor, speech, tmp_path)


def macs(model):
    return measure_size(model, seconds=10.0).macs_by_part["transformer"] * 10


@pytest.mark.slow
def test_operations_that_are_saved(build_model):
    whole, frames, size = macs(build_model()), 499, 24
    saved = 2 * frames * size * size + frames * frames * size
    assert whole - macs(build_model(attention_reuse=[None, 0, None])) == pytest.approx(saved, abs=10)
    saved_there = 2 * frames * 40 * size
    assert whole - macs(build_model(layer_intermediate_sizes=[40, 0, 40])) == pytest.approx(saved_there, abs=10)
    saved = 4 * frames * size * size + 2 * frames * frames * size
    assert whole - macs(build_model(layer_num_attention_heads=[3, 3, 0])) == pytest.approx(saved, abs=10)
    saved = frames * (size * size - 5 * 2 * size)
    assert whole - macs(build_model(layer_ranks=[{}, {"q_proj": 5}, {}])) == pytest.approx(saved, abs=10)
    fewer = 250
    layers = 3 * (fewer * (4 * size * size + 2 * size * 40) + 2 * fewer * fewer * size)
    assert macs(build_model(time_reduction=2)) == pytest.approx(layers + 2 * fewer * 2 * size * size, abs=10)


@torch.no_grad()
def test_a_layer_without_maps_uses_those_of_another(build_model, speech):
    model = build_model(attention_reuse=[None, 0, None])
    found = model(speech[0], output_hidden_states=True, output_attentions=True)
    assert torch.equal(found.attentions[1], found.attentions[0])
    assert not torch.allclose(found.attentions[2], found.attentions[0], rtol=1e-2, atol=0)
    torch.testing.assert_close(found.attentions[0].sum(-1), torch.ones(1, 3, found.logits.shape[1]))
    layer, x = model.speech_encoder.encoder.layers[1], found.hidden_states[1]
    assert not hasattr(layer.attention, "q_proj") and not hasattr(layer.attention, "k_proj")
    value = layer.attention.v_proj(x).unflatten(-1, (3, 8))
    mixed = torch.stack([found.attentions[0][0, head] @ value[0, :, head] for head in range(3)], 1).flatten(1)
    x = layer.layer_norm(x + layer.attention.out_proj(mixed[None]))
    x = layer.final_layer_norm(x + layer.feed_forward(x))
    torch.testing.assert_close(found.hidden_states[2], x, rtol=0, atol=1e-5)
    torch.testing.assert_close(model(speech[0]).logits, found.logits, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("structure", ["base", "large-lv60", "wavlm"])
def test_a_missing_block_is_one_that_says_nothing(structure, build_model, speech):
    """The same model with every block, those that are missing here silent there."""
    heads = {"layer_position_heads": [[0, 1, 2], [], [0, 1, 2]]} if structure == "wavlm" else {}
    changes = {"layer_num_attention_heads": [3, 0, 3], "layer_intermediate_sizes": [0, 40, 40]} | heads
    model, whole = build_model(structure, **changes), build_model(structure)
    here, there = plain_state(model), plain_state(whole)
    load_plain_state(whole, there | here)
    silent = [whole.speech_encoder.encoder.layers[1].attention.out_proj,
              whole.speech_encoder.encoder.layers[0].feed_forward.output_dense]  # fmt: skip
    for linear in silent:
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
    expected = whole(speech[0], output_hidden_states=True)
    found = model(speech[0], output_hidden_states=True, output_attentions=True)
    for ours, theirs in zip(found.hidden_states, expected.hidden_states, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert [weights is None for weights in found.attentions] == [False, True, False]
    names = [name for name in here if "layers.1." in name or "layers.0." in name]
    assert not any("layers.1.attention" in name or "layers.0.feed_forward" in name for name in names)


@torch.no_grad()
def test_the_table_of_position_biases_stands_with_the_first_maps(build_model, speech):
    heads = {"layer_num_attention_heads": [0, 3, 3], "layer_position_heads": [[], [0, 1, 2], [0, 1, 2]]}
    model = build_model("wavlm", **heads)
    layers = model.speech_encoder.encoder.layers
    assert model.config.position_table_layer == 1 and hasattr(layers[1].attention, "rel_attn_embed")
    shallow, _ = shrink(model, Depth(2, "last_k"))
    assert torch.equal(shallow.speech_encoder.encoder.layers[0].attention.rel_attn_embed.weight,
                       layers[1].attention.rel_attn_embed.weight)  # fmt: skip
    mute, _ = shrink(model, Depth(1, "first_k"))
    assert mute.config.position_table_layer is None and torch.isfinite(mute(speech[0]).logits).all()


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 2, 7, 8])
def test_time_is_reduced_by_a_convolution_and_spread_again(build_model, frames):
    reduction = build_model(time_reduction=2).speech_encoder.encoder.time_reduction
    x = torch.randn(1, frames, 24)
    reduced, _ = reduction.reduce(x, None)
    assert reduced.shape[1] == (frames + 1) // 2
    pairs = nn.functional.pad(x, (0, 0, 0, frames % 2))[0]
    kernel = reduction.conv.weight
    for i in range(reduced.shape[1]):
        by_hand = kernel[..., 0] @ pairs[2 * i] + kernel[..., 1] @ pairs[2 * i + 1] + reduction.conv.bias
        torch.testing.assert_close(reduced[0, i], by_hand, rtol=0, atol=1e-5)
    spread, kernel = reduction.restore(reduced, frames), reduction.upsampler.weight
    for i in range(frames):
        by_hand = reduced[0, i // 2] @ kernel[..., i % 2] + reduction.upsampler.bias
        torch.testing.assert_close(spread[0, i], by_hand, rtol=0, atol=1e-5)


def test_ctc_has_its_frames_where_time_is_reduced(build_model, speech):
    """More labels than reduced frames: only as many frames as the audio has give a path."""
    model, wave = build_model(time_reduction=3), speech[0][:, :6000]
    output = model(wave)
    frames = output.logits.shape[1]
    labels = torch.arange(5, 5 + frames * 2 // 3)[None]
    assert labels.shape[1] > -(-frames // 3)
    assert compute_ctc_losses(output.logits, labels, None, 0).item() > 0


@pytest.mark.grid
@torch.no_grad()
@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("name", DENSE)
def test_dense_says_the_same(name, structure, build_model, speech):
    model = build_model(structure, **SHAPES[name])
    dense, changes = densify(model)
    assert dense.config.is_huggingface_shape and changes
    torch.testing.assert_close(dense(speech[0]).logits, model(speech[0]).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["maps used again", "half the frames"])
def test_what_no_dense_shape_says_is_refused(name, build_model):
    with pytest.raises(ModelError):
        densify(build_model(**SHAPES[name]))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"feature_projection": "none"}, ("512", "hidden_size", "768")),
        ({"feature_projection": "some"}, ("some", "linear", "none")),
        ({"time_reduction": 0}, ("time_reduction", "0")),
        ({"time_reduction": 65}, ("time_reduction", "65", "64")),
        ({"attention_reuse": [0]}, ("attention_reuse", "1", "12")),
        ({"attention_reuse": [None, 1] + [None] * 10}, ("1",)),
        ({"attention_reuse": [None, 0, 1] + [None] * 9}, ("2", "1")),
        ({"attention_reuse": [None, 0] + [None] * 10, "layer_num_attention_heads": [11] + [12] * 11},
         ("12", "0", "11")),
        ({"attention_reuse": [None, -1] + [None] * 10}, ("attention_reuse",)),
        ({"attention_reuse": "every"}, ("every", "attention_reuse")),
        ({"layer_ranks": [{}]}, ("layer_ranks", "1", "12")),
        ({"layer_ranks": [{"p_proj": 3}] + [{}] * 11}, ("0", "p_proj", "q_proj")),
        ({"layer_ranks": [{"q_proj": 769}] + [{}] * 11}, ("768", "769")),
        ({"layer_ranks": [{"q_proj": 0}] + [{}] * 11}, ("layer_ranks",)),
        ({"layer_num_attention_heads": [-1] * 12}, ("layer_num_attention_heads", "0")),
    ],
)  # fmt: skip
def test_shapes_that_cannot_be_built(changes, named):
    with refused(ModelError, *named):
        BigfootConfig(**changes)


@pytest.mark.parametrize(
    ("reuse", "layers", "expected"),
    [
        ([None, 0, None, 2], [0, 1], [None, 0]),
        ([None, 0, None, 2], [2, 3, 0, 1], [None, 0, None, 2]),
        ([None, 0, 0, None], [0, 2, 0, 1], [None, 0, None, 2]),
        ([None, 0, None, 2], [0, 2], [None, None]),
    ],
)
def test_depth_moves_maps_along(reuse, layers, expected):
    config = BigfootConfig(num_hidden_layers=4, attention_reuse=reuse)
    assert shrink_shape(config, layers).attention_reuse == expected


def test_depth_refuses_a_layer_without_its_maps(build_model):
    model = build_model(attention_reuse=[None, 0, None])
    with refused(ModelError, "1", "0", "[1, 2]"):
        shrink(model, Depth(2, "last_k"))


def test_depth_moves_ranks_along(build_model, speech):
    student, _ = shrink(build_model(layer_ranks=RANKS), Depth(2, [2, 0]))
    assert student.config.layer_ranks == [RANKS[2], RANKS[0]]
    with torch.no_grad():
        assert torch.isfinite(student(speech[0]).logits).all()
