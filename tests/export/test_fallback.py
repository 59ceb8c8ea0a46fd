"""Layers are brought back by what each does to the logits: as many as it takes, and no pass more than one a layer."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.compress.quantize import calibrate
from bigfoot.data.batches import LoadedUtterance
from bigfoot.export.alone import Alone
from bigfoot.export.audio import padded_audio
from bigfoot.export.fallback import choose_layers
from bigfoot.export.gate import export_checked
from bigfoot.export.layers import LayerError, measure_layers
from bigfoot.export.onnx import build_onnx
from bigfoot.export.parity import ParityLimits
from bigfoot.export.replay import Replay
from bigfoot.formats.folder import LoadedModel
from bigfoot.text.tokenizers import Processor

FRAMES = 6


@pytest.fixture(scope="module")
def noise():
    rng = np.random.default_rng(0)
    return [LoadedUtterance(f"{i}", "", "", rng.standard_normal(6000).astype(np.float32)) for i in range(3)]


def rows(*best):
    """Logits (T, 4) with these best tokens, by 1."""
    return np.eye(4, dtype=np.float32)[list(best)]


def refused_file(loaded, error):
    """The model's text is one token a frame, and each logit of a file moves by so much towards the next token's."""
    expected = [rows(*[1 + (frame + n) % 3 for frame in range(FRAMES)]) for n in range(3)]
    found = [logits + error * (np.roll(logits, 1, axis=1) - logits) for logits in expected]
    items = [LoadedUtterance(f"{n}", "", "", np.zeros(1, np.float32)) for n in range(3)]
    return Alone(loaded, items, expected, found)


@settings(max_examples=12)
@given(noises=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=12), error=st.floats(0.55, 3.0))
def test_as_few_as_bring_the_logits_near_enough(noises, error, tokenless):
    """Texts change where an error is above one half; the errors of layers add up in squares."""
    noises = sorted(noises, reverse=True)
    ranked = [LayerError(f"{index}", 0.1, noise, noise) for index, noise in enumerate(noises)]
    chosen = choose_layers(ranked, refused_file(tokenless, error), ParityLimits())
    assert chosen == ranked[: len(chosen)]
    left = [error * np.sqrt(sum(x**2 for x in noises[count:]) / sum(x**2 for x in noises)) for count in
            (len(chosen), len(chosen) - 1)]  # fmt: skip
    assert left[0] <= 0.5 + 1e-3 and (left[1] > 0.5 - 1e-3 or len(chosen) == 1)


@pytest.fixture(scope="module")
def tokenless(build_model):
    return LoadedModel(build_model("base", num_hidden_layers=1), Processor(None))


def test_the_least_number_and_what_is_past_any_limit(tokenless):
    ranked = [LayerError(name, error, 1.0, 1.0) for name, error in zip("abcd", (0.1, 0.9, 0.1, 0.9), strict=True)]
    alone = refused_file(tokenless, 0.51)
    names = lambda *given: [layer.name for layer in choose_layers(*given)]  # noqa: E731
    assert names(ranked, alone, ParityLimits()) == ["a"] and names(ranked, alone, ParityLimits(), 3) == ["a", "b", "c"]
    assert names(ranked, alone, ParityLimits(), 9) == ["a", "b", "c", "d"]
    assert names(ranked, alone, ParityLimits(layers=0.5)) == ["a", "b", "d"]
    broken = [LayerError("a", 0.1, np.inf, np.inf), *ranked[1:]]
    assert names(broken, alone, ParityLimits()) == ["a"]


@pytest.mark.slow
@pytest.mark.grid
@pytest.mark.parametrize(
    ("structure", "changes"),
    [("large-lv60", {}), ("wavlm", {}), ("conformer", {}), ("base", {"conv_dim": [8] * 7, "conv_sharing": [[1, 2]]})],
)
def test_what_a_layer_does_is_measured_from_it_on(structure, changes, build_model, processor, noise, monkeypatch):
    """The same as in whole passes, though most of the model is not computed again."""
    model = build_model(structure, **changes)
    exported = build_onnx(LoadedModel(model, processor), calibrate(model, padded_audio(noise, processor)))
    values = torch.from_numpy(noise[0].samples)[None]

    def measure():
        passes, first = [], model.speech_encoder.feature_extractor.conv_layers[0].conv
        handle = first.register_forward_pre_hook(lambda *_: passes.append(1))
        found = measure_layers(model, exported.graph, exported.layers, values, effects=True)
        handle.remove()
        return found, len(passes)

    found, computed = measure()
    monkeypatch.setattr(Replay, "beginning_at", lambda *_: nullcontext())
    whole, all_passes = measure()
    assert found == whole and len(found) > 5
    assert computed <= 2 < all_passes == len(found) + 1
    assert all("forward" not in vars(module) for module in model.modules())


@pytest.mark.slow
def test_a_file_that_cannot_pass_ends_in_fp32(build_model, processor, noise):
    """Of random weights any rounding changes the texts, and few files are written until all is in fp32."""
    loaded, built = LoadedModel(build_model("base"), processor), []
    plan = calibrate(loaded.model, padded_audio(noise, processor))

    def build(loaded, plan, **options):
        built.append(plan)
        return build_onnx(loaded, plan, **options)

    exported, parity = export_checked(loaded, plan, noise * 4, build=build, fallback=True)
    assert not parity.problems and len(built) <= 5
    assert len(exported.plan.ranges) <= len(plan.ranges)
