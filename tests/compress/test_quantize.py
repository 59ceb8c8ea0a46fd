"""Eight bits: weights that come back exactly, ranges that hold the inputs."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from bigfoot.compress.quantize import (
    Quantize,
    Range,
    apply,
    calibrate,
    choose_layers,
    folder_plan,
    quantizable_layers,
)
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.models.small_weights import quantize_weight
from tests.codes import refusing


@pytest.mark.slow
@given(seed=st.integers(0, 1000), spread=st.floats(-6, 6))
def test_weights_come_back_exactly_and_within_half_a_step(seed, spread):
    torch.manual_seed(seed)
    weight = torch.randn(5, 3, 4) * 10.0**spread
    integers, scales = quantize_weight(weight)
    back = integers * scales[:, None, None]
    assert ((back - weight).abs() <= scales[:, None, None] * 0.501).all()
    again, scales_again = quantize_weight(back)
    assert torch.equal(again, integers) and torch.equal(scales_again, scales)


def test_any_axis_can_be_the_channels():
    weight = torch.randn(3, 4)
    turned, scales = quantize_weight(weight.T, axis=1)
    expected, same = quantize_weight(weight)
    assert torch.equal(turned.T, expected) and torch.equal(scales, same)
    assert not quantize_weight(torch.zeros(2, 2))[0].any()


def test_ranges_hold_what_was_measured(build_model, speech):
    model = build_model("base")
    audio = [PaddedAudio(wave, torch.ones_like(wave)) for wave in speech[:2]]
    inputs = []
    hook = model.speech_encoder.feature_projection.projection.register_forward_pre_hook(
        lambda _, given: inputs.append(given[0])
    )
    plan = calibrate(model, audio)
    hook.remove()
    low, high = min(float(x.min()) for x in inputs), max(float(x.max()) for x in inputs)
    assert plan.ranges["feature_projection.projection"] == Range(min(0.0, low), max(0.0, high))
    assert plan.is_static and set(plan.ranges) == set(quantizable_layers(model))
    narrow = calibrate(model, audio, percentile=99.0)
    assert all(narrow.ranges[name].high <= plan.ranges[name].high for name in plan.ranges)
    assert narrow.ranges["feature_projection.projection"].high < high


def test_what_cannot_be_measured_is_refused(build_model):
    with refusing(("precision", "no_audio")):
        calibrate(build_model("base"), [])
    with refusing(("percentile", "out_of_range")):
        calibrate(build_model("base"), [], percentile=40)


@pytest.mark.slow
def test_a_model_keeps_its_own_plan(build_model, speech):
    model = build_model(conv_groups=[1, 2, 2, 2, 2, 2, 2])
    audio = [PaddedAudio(wave, torch.ones_like(wave)) for wave in speech[:2]]
    measured = calibrate(model, audio)
    kept = [name for name in measured.ranges if name.startswith("encoder.layers.0.") or name.endswith("v_proj")]
    small, change = apply(model, Quantize("int8_static", ["encoder.layers.0", "*.v_proj"]), audio)
    plan = folder_plan(small)
    assert plan.ranges == measured.without(kept).ranges and plan.fine == measured.fine
    assert f"in fp32 {', '.join(kept)}" in change.describe()
    dynamic = folder_plan(apply(model, Quantize("int8_dynamic", ["feature_extractor.conv_layers.6"]))[0])
    assert not dynamic.is_static and len(dynamic.ranges) == len(measured.ranges) - 1
    assert dynamic.fine == measured.fine - {"feature_extractor.conv_layers.6.conv"}
    assert folder_plan(model) is None and folder_plan(apply(model, Quantize("int8"))[0]) is None
    # From one precision to another, weights stay what they were rounded to.
    again = apply(small, Quantize("int8"))[0]
    assert all(torch.equal(t, small.state_dict()[name]) for name, t in again.state_dict().items())


def test_what_cannot_be_quantized_is_refused(build_model):
    model = build_model()
    with refusing(("precision", "unknown_word")):
        apply(model, Quantize("int4"))
    with refusing(("keep_fp32", "no_such_layer")) as caught:
        apply(model, Quantize("int8", ["encoder.layer.0"]))
    assert "encoder.layers.0" in caught.value.problems[0].message  # the nearest name
    with refusing(("precision", "no_audio")):
        apply(model, Quantize("int8_static"))
    with refusing(("keep_fp32", "not_read")):
        apply(model, Quantize("float32", ["*"]))
    assert apply(model, Quantize("float16", ["lm_head"]))[0].config.small.keeps("lm_head")
    assert choose_layers([], ["a"]) == []
