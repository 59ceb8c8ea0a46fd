"""Eight bits: weights that come back exactly, ranges that hold what was heard."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from bigfoot.compress.quantize import Range, calibrate, quantizable_layers, quantize_weight
from bigfoot.errors import ConfigError
from bigfoot.models.feature_encoder import PaddedAudio


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


def test_ranges_hold_what_was_heard(build_model, speech):
    model = build_model("base")
    audio = [PaddedAudio(wave, torch.ones_like(wave)) for wave in speech[:2]]
    heard = []
    hook = model.speech_encoder.feature_projection.projection.register_forward_pre_hook(
        lambda _, given: heard.append(given[0])
    )
    plan = calibrate(model, audio)
    hook.remove()
    low, high = min(float(x.min()) for x in heard), max(float(x.max()) for x in heard)
    assert plan.ranges["feature_projection.projection"] == Range(min(0.0, low), max(0.0, high))
    assert plan.is_static and set(plan.ranges) == set(quantizable_layers(model))
    narrow = calibrate(model, audio, percentile=99.0)
    assert all(narrow.ranges[name].high <= plan.ranges[name].high for name in plan.ranges)
    assert narrow.ranges["feature_projection.projection"].high < high


def test_what_cannot_be_measured_is_said(build_model):
    with pytest.raises(ConfigError, match="no audio"):
        calibrate(build_model("base"), [])
    with pytest.raises(ConfigError, match="percentile: 40"):
        calibrate(build_model("base"), [], percentile=40)
