"""Rounding as the exported file rounds: against ONNX Runtime's own operators, and layer by layer."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from bigfoot.models.fake_int8 import FakeInt8, int8_layers, static_scale
from bigfoot.models.low_rank import LowRankLinear

ends = st.tuples(st.floats(-50, 0), st.floats(0, 50)).filter(lambda both: both[1] - both[0] > 1e-3)


def rounded(hook, x):
    return hook(None, (x,))[0]


@pytest.mark.slow
@given(both=ends, seed=st.integers(0, 100))
def test_static_rounding_against_a_plain_loop(both, seed):
    low, high = both
    x = torch.randn(40, generator=torch.Generator().manual_seed(seed)) * (high - low)
    found = rounded(FakeInt8(both, fine=False), x)
    step, offset = static_scale(low, high)
    assert step == np.float32(step)
    for number, answer in zip(x.tolist(), found.tolist(), strict=True):
        byte = min(255, max(0, round(float(np.float32(number) / np.float32(step))) + offset))
        assert answer == pytest.approx((byte - offset) * step, rel=1e-6, abs=1e-9)
        if low + step < number < high - step:
            assert abs(answer - number) <= 0.51 * step
    fine = rounded(FakeInt8(both, fine=True), x)
    inside = (x > low + step) & (x < high - step)
    assert ((fine - x).abs()[inside] <= 0.51 * step / 255 + 1e-6).all()
    assert torch.equal(rounded(FakeInt8(both, fine=False), found), found)


def test_dynamic_rounding_against_onnx_runtime():
    ort = pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, None)], [value("y", TensorProto.FLOAT, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    torch.manual_seed(0)
    positive = torch.rand(3, 4) + 1
    for x in (torch.randn(1, 6, 50), positive, -positive, torch.zeros(2, 2), torch.randn(999) * 1e-3):
        (expected,) = session.run(None, {"x": x.numpy()})
        assert np.allclose(rounded(FakeInt8(None, fine=False), x).numpy(), expected, rtol=1e-6, atol=1e-9)
    x = torch.cat([torch.randn(1, 2, 50), 100 * torch.randn(1, 2, 50)], dim=1)
    by_group = rounded(FakeInt8(None, fine=False, groups=2), x)
    for half in (slice(0, 2), slice(2, 4)):
        (expected,) = session.run(None, {"x": x[:, half].numpy()})
        assert np.allclose(by_group[:, half].numpy(), expected, rtol=1e-6)


def test_layers_that_can_be_int8(build_model):
    model = build_model("wavlm", layer_ranks=[{"q_proj": 4}, {}, {}], time_reduction=2)
    names = list(int8_layers(model.speech_encoder))
    modules = dict(model.speech_encoder.named_modules())
    assert "feature_extractor.conv_layers.0.conv" not in names and "feature_extractor.conv_layers.1.conv" in names
    assert "encoder.layers.0.attention.q_proj.down" in names and "encoder.time_reduction.upsampler" in names
    assert not any("gru" in name for name in names)
    assert not any(isinstance(modules[name], LowRankLinear) for name in names)
