"""A narrower model by chosen units and least squares: exact where units repeat each other, close where they do not."""

import pytest
import torch

from bigfoot.compress.audio import LazyAudio
from bigfoot.compress.narrow import Narrow, apply, choose_units, fit_
from bigfoot.compress.reshape_to import choose_shape
from bigfoot.compress.surgery import prune_units
from bigfoot.compress.units import Place
from bigfoot.errors import UnfitError
from bigfoot.formats.folder import load_model
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.pipeline.settings import load_config
from bigfoot.pipeline.student import build_student
from bigfoot.pipeline.student_shape import resolve_student
from tests.codes import codes, refusing
from tests.refusals import names

NORMS = ["base", "large-lv60", "mms"]


@pytest.fixture
def audio():
    """30 s, each utterance of another length."""
    noise = torch.randn(6, 80_000, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([80_000, 71_111, 64_000, 80_000, 40_000, 60_001])
    mask = torch.arange(80_000) < lengths[:, None]
    return [PaddedAudio(noise[:3] * mask[:3], mask[:3]), PaddedAudio(noise[3:] * mask[3:], mask[3:])]


def answers(model, batches):
    with torch.no_grad():
        outputs = [model(*batch) for batch in batches]
    return torch.cat([each.logits[each.frame_mask] for each in outputs])


def error(model, teacher, batches):
    there = answers(teacher, batches)
    return float((answers(model, batches) - there).square().sum() / (there - there.mean(0)).square().sum())


def repeat_units_(model):
    """Make every layer's second half of feed-forward units, last head and some channels say what others say."""
    with torch.no_grad():
        for layer in model.speech_encoder.encoder.layers:
            first = layer.feed_forward.intermediate_dense
            half = first.out_features // 2
            for tensor in (first.weight, first.bias):
                tensor[half:] = tensor[:half]
            width = layer.attention.head_dim
            for name in ("q_proj", "k_proj", "v_proj"):
                for tensor in (getattr(layer.attention, name).weight, getattr(layer.attention, name).bias):
                    tensor[-width:] = tensor[:width]
        for conv in list(model.speech_encoder.feature_encoder)[1:3]:
            conv.conv.weight[4:] = conv.conv.weight[:-4]
            if conv.layer_norm is not None:
                conv.layer_norm.weight[4:] = conv.layer_norm.weight[:-4]
                conv.layer_norm.bias[4:] = conv.layer_norm.bias[:-4]


@pytest.mark.slow
def test_units_that_repeat_others_go_and_nothing_is_lost(build_model, audio):
    model = build_model("base")
    repeat_units_(model)
    config, before = model.config, answers(model, audio)
    convs = [config.conv_dim[0], 4, 4, *config.conv_dim[3:]]
    heads = [config.num_attention_heads - 1] * config.num_hidden_layers
    shape = {"conv_dim": convs, "layer_num_attention_heads": heads, "intermediate_size": config.intermediate_size // 2}
    student, change = apply(model, Narrow(shape), audio)
    assert student.config.conv_dim == convs and student.config.heads_of_layers == heads
    torch.testing.assert_close(answers(student, audio), before, rtol=0, atol=2e-2 * float(before.std()))
    assert torch.equal(answers(model, audio), before)
    assert names(change.describe(), f"4 of {config.conv_dim[1]}", "convolution 1")


@pytest.mark.slow
@pytest.mark.parametrize("structure", NORMS)
def test_fitted_maps_are_closer_than_cut_ones(build_model, audio, structure):
    model = build_model(structure)
    shape = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24, "conv_dim": [8] * 7}
    wanted = choose_shape(model.config, {**shape, "conv_dim": [6, *model.config.conv_dim[1:]]})
    keep = choose_units(model, wanted, audio)
    assert len(keep[Place("width")]) == 16 and len(keep[Place("conv", 0)]) == 6
    cut = prune_units(model, keep)
    before = error(cut, model, audio)
    fit_(cut, model, keep, audio)
    assert error(cut, model, audio) < 0.5 * before


@pytest.mark.slow
def test_nothing_left_out_is_the_same_model(build_model, audio):
    for structure in NORMS:
        model = build_model(structure)
        student, _ = apply(model, Narrow({"hidden_size": model.config.hidden_size}), audio)
        assert error(student, model, audio) < 1e-6


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ({"hidden_size": 12}, ("", "no_least_squares")),
        ({"intermediate_size": 4096}, ("", "no_least_squares")),
        ({"time_reduction": 2}, ("", "no_least_squares")),
        ({"hidden_size": 25}, ("shape", "bad_shape")),
    ],
)
def test_other_shapes_are_refused(build_model, audio, shape, expected):
    with pytest.raises(UnfitError) as caught:
        apply(build_model("base"), Narrow(shape), audio)
    assert set(codes(caught.value.problems)) == {expected}


@pytest.mark.parametrize("structure", ["conformer", "w2v-bert", "sew", "sew-d"])
def test_layers_that_no_least_squares_fit_are_refused(structure, build_model):
    model = build_model(structure)
    with refusing(("", "no_least_squares"), kind=UnfitError) as caught:
        apply(model, Narrow({"intermediate_size": 8}), [])
    assert names(str(caught.value), model.config.family, "slice")


def test_without_audio_there_is_no_fit(build_model):
    with refusing(("", "no_audio")):
        apply(build_model("base"), Narrow({"intermediate_size": 8}), [])


@pytest.mark.slow
def test_a_configuration_asks_for_it(audio):
    asked = ["teacher.path=tiny_teacher", "student.shape={intermediate_size: 64}", "student.conv_groups=1"]
    config = load_config("demo_config.yaml", [*asked, "student.conv_init=slice", "student.shape_init=least_squares"])
    teacher = load_model("tiny_teacher").model

    student, changes = build_student(teacher, config, LazyAudio(audio[:1]))
    assert student.config.widths_of_layers == [64] * 4
    assert names(" ".join(changes), "64 of 512", "layer 0")
    config.student.shape = {"hidden_size": 64}
    assert ("student.shape_init", "no_least_squares") in codes(resolve_student(config, teacher.config).problems)
