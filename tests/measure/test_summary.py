import io
import json

import pytest
from rich.console import Console

from bigfoot.formats.folder import LoadedModel
from bigfoot.measure.size import count_params
from bigfoot.measure.summary import render_summary, summarize_model
from bigfoot.text.tokenizers import Processor
from tests.refusals import names

SHAPES = {
    "base": ("base", {}),
    "large": ("large-lv60", {}),
    "own": ("base", {"conv_groups": [1, 2, 2, 4, 2, 2, 2], "layer_num_attention_heads": [1, 2, 3],
                     "layer_intermediate_sizes": [8, 16, 40]}),
    "headless": ("base", {"ctc_head": False}),
    "no masks": ("base", {"mask_time_prob": 0.0}),
    "hubert": ("hubert-without-norm", {}),
    "wavlm": ("wavlm-large", {}),
    "data2vec": ("data2vec", {}),
}  # fmt: skip


@pytest.fixture(params=SHAPES)
def model(request, build_model):
    structure, changes = SHAPES[request.param]
    return build_model(structure, **changes)


def summarize(model, folder=None):
    return summarize_model(LoadedModel(model, Processor(), folder=folder))


@pytest.mark.grid
def test_layers_add_up_to_the_model(model):
    summary = summarize(model)
    masked = model.speech_encoder.masked_spec_embed
    beside = 0 if masked is None else masked.numel()
    assert sum(layer.num_params for layer in summary.layers) + beside == summary.num_params == count_params(model)
    total, parts = sum(layer.macs_per_second for layer in summary.layers), sum(summary.macs_by_part.values())
    # Every line is rounded on its own.
    assert total == pytest.approx(parts, abs=len(summary.layers))


@pytest.mark.grid
def test_every_layer_is_named_in_order(model):
    names = [layer.name for layer in summarize(model).layers]
    expected = [f"feature_encoder.conv_layers.{i}" for i in range(7)]
    expected += ["feature_projection", "encoder.pos_conv_embed"]
    expected += [f"encoder.layers.{i}" for i in range(3)] + ["encoder.layer_norm"]
    assert names == expected + (["lm_head"] if model.head is not None else [])


@pytest.mark.slow
def test_what_it_says_of_shapes(build_model):
    structure, changes = SHAPES["own"]
    summary = summarize(build_model(structure, **changes))
    by_name = {layer.name: layer for layer in summary.layers}
    assert by_name["feature_encoder.conv_layers.0"].what == "conv 1 -> 8, kernel 10, stride 5, groups 1, GroupNorm"
    assert by_name["feature_encoder.conv_layers.3"].what == "conv 8 -> 16, kernel 3, stride 2, groups 4, no norm"
    assert by_name["feature_encoder.conv_layers.0"].output == "3200/s x 8"
    assert by_name["feature_encoder.conv_layers.6"].output == "50/s x 12"
    assert by_name["feature_projection"].what == "norm, linear 12 -> 24"
    assert by_name["encoder.pos_conv_embed"].what == "positional conv, kernel 16, groups 4"
    assert by_name["encoder.layers.1"].what == "2 heads of 8, feed-forward 16, norm last"
    assert by_name["lm_head"].what == "linear 24 -> 32"
    assert summary.title == "wav2vec2, 3 layers, 24 wide, group norm; a shape of bigfoot's own"
    assert "plain transformers" in summarize(build_model("large-lv60")).title


@pytest.mark.slow
def test_what_it_says_of_families(build_model):
    titles, positions, layers, projections = {}, {}, {}, {}
    for name in ("hubert-without-norm", "hubert-batch-norm", "wavlm", "data2vec"):
        summary = summarize(build_model(name))
        by_name = {layer.name: layer.what for layer in summary.layers}
        titles[name], positions[name] = summary.title, by_name["encoder.pos_conv_embed"]
        layers[name], projections[name] = by_name["encoder.layers.1"], by_name["feature_projection"]
    assert titles["wavlm"] == "wavlm, 3 layers, 24 wide, group norm; opens in plain transformers"
    assert titles["data2vec"].startswith("data2vec-audio, ")
    assert positions["hubert-batch-norm"] == "positional conv, kernel 16, groups 4, batch norm"
    assert positions["data2vec"] == "3 positional convs, kernel 7, groups 4"
    assert layers["wavlm"] == "3 heads of 8 with bias, feed-forward 40, norm last"
    assert projections["hubert-without-norm"] == "linear 12 -> 24"


@pytest.mark.grid
def test_as_json(model, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"12345")
    summary = summarize(model, tmp_path)
    plain = json.loads(json.dumps(summary.to_dict()))
    assert plain["size_bytes"] == 5
    assert plain["num_params"] == summary.num_params
    assert plain["layers"][0]["name"] == "feature_encoder.conv_layers.0"


@pytest.mark.slow
def test_as_a_table(model, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"0" * 1_500_000)
    console = Console(width=160, record=True, file=io.StringIO())
    for part in render_summary(summarize(model, tmp_path)):
        console.print(part)
    text = console.export_text()
    assert "encoder.layers.2" in text
    assert names(text, f"{count_params(model):,}", "1.5")
    assert "on disk" not in render_summary(summarize(model))[-1]
