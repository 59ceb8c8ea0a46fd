"""Every step on every family: what it makes answers, saves, reloads, and moved what it should."""

import pytest
import torch

from bigfoot.compress import conv_groups, conv_sharing, depth
from bigfoot.errors import UnfitError
from bigfoot.formats.folder import load_model, save_model
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.models.reshape import plain_state, with_new_head
from tests.refusals import refused

STEPS = {
    "depth": lambda model, _: depth.apply(model, depth.Depth(2, "spread"))[0],
    "last layers": lambda model, _: depth.apply(model, depth.Depth(2, "last_k"))[0],
    "slice": lambda model, _: conv_groups.apply(model, conv_groups.ConvGroups(2))[0],
    "permute": lambda model, _: conv_groups.apply(model, conv_groups.ConvGroups(2, "permute"))[0],
    "least squares": lambda model, audio: conv_groups.apply(
        model, conv_groups.ConvGroups(2, "least_squares"), audio
    )[0],
    "sharing": lambda model, _: conv_sharing.apply(model, conv_sharing.ConvSharing([[1, 2]]))[0],
    "shared least squares": lambda model, audio: conv_sharing.apply(
        model, conv_sharing.ConvSharing([[1, 2]], "least_squares"), audio
    )[0],
    "head": lambda model, _: with_new_head(model, 11, 0, seed=1),
}


OF_CONVOLUTIONS = {"slice", "permute", "least squares", "sharing", "shared least squares"}


@pytest.mark.grid
@pytest.mark.parametrize("step", STEPS)
def test_every_step(family, step, build_model, processor, speech, tmp_path):
    model = build_model(family)
    if not model.config.has_convolutions and step in OF_CONVOLUTIONS:
        with refused(UnfitError, "wav2vec2-bert", "log-mel"):
            STEPS[step](model, [])
        return
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    audio = [PaddedAudio(wave, torch.ones_like(wave, dtype=torch.bool)) for wave in speech[:1]]
    student = STEPS[step](model, audio)
    assert student.config.family == model.config.family
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    save_model(student, processor, tmp_path / "student")
    with torch.no_grad():
        expected = student(speech[0]).logits
        assert torch.isfinite(expected).all()
        assert torch.equal(load_model(tmp_path / "student").model(speech[0]).logits, expected)


@pytest.mark.parametrize("layers", [[2], [1, 2], [2, 0], [0, 0]])
def test_the_table_of_position_biases_moves_to_the_new_first_layer(build_model, speech, layers):
    model = build_model("wavlm", layer_position_heads=[[0, 1, 2], [2, 0, 1], [1, 2, 0]])
    student, _ = depth.apply(model, depth.Depth(len(layers), layers))
    encoder, attentions = model.speech_encoder.encoder, []
    assert student.config.position_heads_of_layers == [model.config.position_heads_of_layers[i] for i in layers]
    table = student.speech_encoder.encoder.layers[0].attention.rel_attn_embed.weight
    assert torch.equal(table, encoder.layers[0].attention.rel_attn_embed.weight)
    assert not any(hasattr(layer.attention, "rel_attn_embed") for layer in student.speech_encoder.encoder.layers[1:])
    with torch.no_grad():
        # By hand: the teacher's own layers in the student's order, the bias from the teacher's first.
        x = model(speech[0], output_hidden_states=True).hidden_states[0]
        bias = encoder.layers[0].attention.compute_position_bias(x.shape[1])
        for layer in layers:
            x, weights = encoder.layers[layer](x, None, True, bias)
            attentions.append(weights)
        found = student(speech[0], output_attentions=True)
    torch.testing.assert_close(found.last_hidden_state, x, rtol=0, atol=1e-5)
    for here, there in zip(found.attentions, attentions, strict=True):
        torch.testing.assert_close(here, there, rtol=0, atol=1e-5)


def test_depth_keeps_lists_of_heads_and_widths(build_model, speech):
    lists = {
        "layer_num_attention_heads": [3, 1, 2],
        "layer_position_heads": [[0, 1, 2], [2], [0, 2]],
        "layer_intermediate_sizes": [40, 8, 16],
    }
    student, _ = depth.apply(build_model("wavlm", **lists), depth.Depth(2, "last_k"))
    assert student.config.heads_of_layers == [1, 2]
    assert student.config.layer_position_heads == [[2], [0, 2]]
    assert student.config.widths_of_layers == [8, 16]
    with torch.no_grad():
        assert torch.isfinite(student(speech[0]).logits).all()


def test_plain_names_say_nothing_of_the_first_layer(build_model):
    names = list(plain_state(build_model("wavlm")))
    assert "encoder.encoder.position_bias.weight" in names
    assert not any("rel_attn_embed" in name for name in names)
