"""torchaudio's state dicts: their names, what no tensor tells, both ways; against itself where it imports."""

import json
import sys
import types

import pytest
import torch

from bigfoot.errors import ModelError
from bigfoot.formats.folder import load_model, save_model
from bigfoot.formats.torchaudio import load_bundle
from tests.refusals import refused

# What wav2vec2_model of torchaudio.models calls the tensors of one convolution and one layer.
LINEAR = ("weight", "bias")
NAMES = [
    "feature_extractor.conv_layers.0.conv.weight",
    "encoder.transformer.pos_conv_embed.conv.bias",
    *(f"encoder.transformer.pos_conv_embed.conv.parametrizations.weight.original{n}" for n in (0, 1)),
    *(f"feature_extractor.conv_layers.0.layer_norm.{kind}" for kind in LINEAR),
    *(f"encoder.feature_projection.{module}.{kind}" for module in ("layer_norm", "projection") for kind in LINEAR),
    *(f"encoder.transformer.layer_norm.{kind}" for kind in LINEAR),
    *(f"encoder.transformer.layers.0.attention.{name}_proj.{kind}"
      for name in ("k", "v", "q", "out") for kind in LINEAR),
    *(f"encoder.transformer.layers.0.{name}layer_norm.{kind}" for name in ("", "final_") for kind in LINEAR),
    *(f"encoder.transformer.layers.0.feed_forward.{name}_dense.{kind}"
      for name in ("intermediate", "output") for kind in LINEAR),
    *(f"aux.{kind}" for kind in LINEAR),
]  # fmt: skip


def arguments_of(config):
    """The builder's arguments for a configuration of transformers', as torchaudio's own importer has them."""
    convs = zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True)
    return {
        "extractor_mode": f"{config.feat_extract_norm}_norm",
        "extractor_conv_layer_config": [list(shape) for shape in convs],
        "extractor_conv_bias": config.conv_bias,
        "encoder_embed_dim": config.hidden_size,
        "encoder_projection_dropout": config.feat_proj_dropout,
        "encoder_pos_conv_kernel": config.num_conv_pos_embeddings,
        "encoder_pos_conv_groups": config.num_conv_pos_embedding_groups,
        "encoder_num_layers": config.num_hidden_layers,
        "encoder_num_heads": config.num_attention_heads,
        "encoder_attention_dropout": config.attention_dropout,
        "encoder_ff_interm_features": config.intermediate_size,
        "encoder_ff_interm_dropout": config.activation_dropout,
        "encoder_dropout": config.hidden_dropout,
        "encoder_layer_norm_first": config.do_stable_layer_norm,
        "encoder_layer_drop": 0.0,
        "aux_num_out": config.vocab_size,
    } | (
        {"encoder_num_buckets": config.num_buckets, "encoder_max_distance": config.max_bucket_distance}
        if config.model_type == "wavlm" else {}
    )  # fmt: skip


def state_of(model):
    """The same tensors under torchaudio's names: whole modules of transformers' fit into torchaudio's."""
    parts = {"feature_extractor": "feature_extractor", "encoder.feature_projection": "feature_projection",
             "encoder.transformer": "encoder"}  # fmt: skip
    state = {}
    for theirs, part in parts.items():
        module = getattr(model, model.base_model_prefix).get_submodule(part)
        state |= {f"{theirs}.{name}": tensor for name, tensor in module.state_dict().items()}
    state |= {f"aux.{name}": tensor for name, tensor in model.lm_head.state_dict().items()}
    return with_joined_projections(state, model.config) if model.config.model_type == "wavlm" else state


def with_joined_projections(state, config):
    """torchaudio's WavLM keeps its projections in a torch.nn.MultiheadAttention."""
    for layer in range(config.num_hidden_layers):
        name = f"encoder.transformer.layers.{layer}.attention."
        for kind in LINEAR:
            parts = [state.pop(f"{name}{projection}_proj.{kind}") for projection in "qkv"]
            state[f"{name}attention.in_proj_{kind}"] = torch.cat(parts)
            state[f"{name}attention.out_proj.{kind}"] = state.pop(f"{name}out_proj.{kind}")
    return state


def write(folder, state, facts=None, name="wav2vec2.pt"):
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / name)
    if facts is not None:
        (folder / name).with_suffix(".json").write_text(json.dumps(facts))
    return folder / name


@torch.no_grad()
def answers(model, wave):
    output = model(wave, output_hidden_states=True)
    return [*output.hidden_states, output.logits]


def same_tensors(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


FAMILIES = ("hubert", "hubert-large", "wavlm", "wavlm-large")


@pytest.mark.slow
@pytest.mark.grid
@pytest.mark.parametrize("structure", ["base", "large-lv60", "group-stable", "layer-post", *FAMILIES])
def test_answers_are_those_of_the_same_weights_elsewhere(structure, build_huggingface, speech, tmp_path):
    model = build_huggingface(structure, seed=1)
    config = model.config
    file = write(tmp_path, state_of(model), {"family": config.model_type, "arguments": arguments_of(config)})
    for place in (file, tmp_path):
        loaded = load_model(place)
        assert loaded.processor.tokenizer is None
        assert loaded.processor.do_normalize == (config.feat_extract_norm == "layer")
        assert loaded.model.config.family == config.model_type
        for ours, theirs in zip(answers(loaded.model, speech[0]), answers(model, speech[0]), strict=True):
            assert (ours - theirs).abs().max() <= 1e-4


@pytest.mark.slow
@pytest.mark.grid
@pytest.mark.parametrize("structure", ["base", "large-lv60", *FAMILIES])
def test_there_and_back_to_the_bit(structure, build_huggingface, processor, tmp_path):
    model = build_huggingface(structure)
    family = model.config.model_type
    builder = "wavlm_model" if family == "wavlm" else "wav2vec2_model"
    facts = {"family": family, "builder": builder, "arguments": arguments_of(model.config)}
    file = write(tmp_path / "given", state_of(model), facts)
    loaded = load_model(file)
    save_model(loaded.model, processor, tmp_path / "native")
    native = load_model(tmp_path / "native")
    save_model(native.model, native.processor, tmp_path / "back", to="torchaudio")
    assert same_tensors(torch.load(tmp_path / "back" / "model.pt", weights_only=True), state_of(model))
    assert json.loads((tmp_path / "back" / "model.json").read_text()) == facts
    assert load_model(tmp_path / "back").processor == processor


@pytest.mark.slow
def test_what_is_written_has_torchaudios_names(build_model, processor, tmp_path):
    one = {"conv_dim": [8], "conv_kernel": [10], "conv_stride": [5], "num_hidden_layers": 1}
    save_model(build_model("base", **one), processor, tmp_path / "model", to="torchaudio")
    assert sorted(torch.load(tmp_path / "model" / "model.pt", weights_only=True)) == sorted(NAMES)
    assert load_model(tmp_path / "model").model.config.conv_stride == [5]


USUAL = {"hidden_size": 128, "num_attention_heads": 2}


@pytest.mark.slow
@pytest.mark.grid
@pytest.mark.parametrize("structure", ["base", "large-lv60", "wavlm", "wavlm-large"])
def test_without_a_word_beside_it_the_published_shape(structure, build_huggingface, speech, tmp_path, caplog):
    wavlm = structure.startswith("wavlm")
    model = build_huggingface(structure, **USUAL | ({"max_bucket_distance": 800} if wavlm else {}))
    loaded = load_model(write(tmp_path, state_of(model)))
    assert loaded.model.config.family == model.config.model_type
    asked = "as far as 800 frames" if wavlm else "2 heads"
    assert all(words in caplog.text for words in (asked, "strides [5, 2, 2, 2, 2, 2, 2]", "wav2vec2.json"))
    assert ("before attention" in caplog.text) == ("large" in structure)
    for ours, theirs in zip(answers(loaded.model, speech[0]), answers(model, speech[0]), strict=True):
        assert (ours - theirs).abs().max() <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "named", "argument"),
    [
        ({}, ("24",), {"encoder_num_heads": 3}),
        (
            USUAL | {"conv_dim": [8, 8], "conv_kernel": [10, 3], "conv_stride": [5, 3]},
            ("[10, 3]",),
            {"extractor_conv_layer_config": [[8, 10, 5], [8, 3, 3]]},
        ),
    ],
)
def test_what_nobody_can_know_is_asked_for(changes, named, argument, build_huggingface, speech, tmp_path):
    model = build_huggingface("base", **changes)
    file = write(tmp_path, state_of(model))
    with refused(ModelError, *named) as caught:
        load_model(file)
    assert f'"{next(iter(argument))}"' in str(caught.value) and "wav2vec2.json" in str(caught.value)
    write(tmp_path, state_of(model), {"arguments": argument})
    ours, theirs = answers(load_model(file).model, speech[0]), answers(model, speech[0])
    assert all((one - two).abs().max() <= 1e-4 for one, two in zip(ours, theirs, strict=True))


@pytest.mark.slow
def test_xlsr_of_a_billion_has_sixteen_heads(build_huggingface, tmp_path):
    model = build_huggingface("large-lv60", hidden_size=1280, num_attention_heads=16, num_hidden_layers=1)
    assert load_model(write(tmp_path, state_of(model))).model.config.num_attention_heads == 16


@pytest.mark.slow
def test_older_spellings_and_wrappers(build_huggingface, tmp_path):
    model = build_huggingface("base", **USUAL)
    state = state_of(model)
    plain = load_model(write(tmp_path / "plain", state)).model.state_dict()
    spellings = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    old = dict(state)
    conv = "encoder.transformer.pos_conv_embed.conv."
    for new, older in spellings.items():
        old[conv + older] = old.pop(conv + new)
    assert same_tensors(load_model(write(tmp_path / "old", old)).model.state_dict(), plain)
    bundle = {f"model.{name}": tensor for name, tensor in state.items()}
    assert same_tensors(load_model(write(tmp_path / "bundle", bundle)).model.state_dict(), plain)


@pytest.mark.slow
def test_hubert_as_it_was_pretrained(build_huggingface, tmp_path):
    model = build_huggingface("base", **USUAL)
    state = {f"wav2vec2.{name}": tensor for name, tensor in state_of(model).items() if not name.startswith("aux.")}
    mask = torch.rand(128)
    state |= {"mask_generator.mask_embedding": mask, "logit_generator.label_embeddings": torch.rand(500, 16),
              "logit_generator.final_proj.weight": torch.rand(16, 128)}  # fmt: skip
    loaded = load_model(write(tmp_path, state)).model
    assert loaded.head is None
    assert torch.equal(loaded.speech_encoder.masked_spec_embed, mask)


@pytest.mark.slow
def test_missing_and_left_over_tensors_are_listed(build_huggingface, tmp_path):
    state = state_of(build_huggingface("base", **USUAL))
    bias = state.pop("encoder.transformer.layers.1.attention.q_proj.bias")
    state["encoder.transformer.layers.1.attention.r_proj.bias"] = bias
    with refused(ModelError, "layers.1.attention.r_proj.bias", "q_proj.bias"):
        load_model(write(tmp_path, state))


@pytest.mark.parametrize(
    ("state", "named"),
    [
        ({"model.0.weight": torch.ones(2)}, ()),
        ({}, ()),
        ({"aux.weight": torch.ones(2, 2)}, ()),
    ],
)
def test_other_files_are_refused(state, named, tmp_path):
    with refused(ModelError, *named):
        load_model(write(tmp_path, state))


@pytest.mark.grid
@pytest.mark.parametrize(
    "name",
    ["feature_extractor.conv_layers.3.conv.weight", "aux.weight",
     "encoder.transformer.layers.2.feed_forward.intermediate_dense.weight",
     "encoder.transformer.pos_conv_embed.conv.parametrizations.weight.original1"],
)  # fmt: skip
@pytest.mark.parametrize("tensor", [torch.tensor(1.0), torch.empty(0), torch.empty(2, 0, 0), torch.ones(1, 1, 1, 1)])
def test_tensors_of_other_dimensions_are_refused(name, tensor, build_huggingface, tmp_path):
    state = state_of(build_huggingface("base", **USUAL)) | {name: tensor}
    with pytest.raises(ModelError):
        load_model(write(tmp_path, state))


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"family": "data2vec"}, ("data2vec", "wav2vec2")),
        ({"arguments": {"encoder_heads": 2}}, ("encoder_heads",)),
        ({"arguments": {"extractor_mode": "batch_norm"}}, ("extractor_mode",)),
        ({"arguments": {"extractor_conv_layer_config": 7}}, ("extractor_conv_layer_config",)),
        ({"arguments": [7]}, ("arguments",)),
        ({"arguments": {"encoder_num_layers": 10**6}}, ("1000",)),
        ({"arguments": {"aux_num_out": "many"}}, ("many", "vocab_size")),
        ({"arguments": {"encoder_num_heads": 7}}, ("7",)),
        ({"arguments": {"encoder_embed_dim": 64}}, ()),
    ],
)
def test_wrong_words_beside_a_file_are_refused(facts, named, build_huggingface, tmp_path):
    with refused(ModelError, *named):
        load_model(write(tmp_path, state_of(build_huggingface("base", **USUAL)), facts))


@pytest.mark.parametrize(
    ("structure", "changes", "named"),
    [
        ("base", {"conv_groups": [1, 2, 2, 2, 2, 2, 2]}, ("conv_groups",)),
        ("data2vec", {}, ("data2vec-audio",)),
        ("hubert-batch-norm", {}, ("conv_pos_batch_norm",)),
        ("hubert-without-norm", {}, ("feat_proj_layer_norm",)),
        ("base", {"layer_intermediate_sizes": [8, 40, 24]}, ("[8, 40, 24]",)),
        ("base", {"hidden_act": "relu"}, ("relu", "hidden_act")),
        ("base", {"layer_norm_eps": 1e-6}, ("layer_norm_eps",)),
    ],
)
def test_what_torchaudio_cannot_say_is_named(structure, changes, named, build_model, processor, tmp_path):
    with refused(ModelError, *named):
        save_model(build_model(structure, **changes), processor, tmp_path / "model", to="torchaudio")
    assert list(tmp_path.iterdir()) == []


# Bundles


class FakeModule(torch.nn.Module):
    """What of a module of torchaudio's is asked for besides its tensors."""

    def __init__(self, model):
        super().__init__()
        self.tensors = state_of(model)
        config = model.config
        shapes = zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True)
        convs = [torch.nn.Module() for _ in config.conv_dim]
        for conv, (channels, kernel, stride) in zip(convs, shapes, strict=True):
            conv.conv, conv.kernel_size, conv.stride = types.SimpleNamespace(out_channels=channels), kernel, stride
        layer = torch.nn.Module()
        layer.attention = torch.nn.Module()
        layer.attention.num_heads, layer.layer_norm_first = config.num_attention_heads, config.do_stable_layer_norm
        self.feature_extractor, self.encoder = torch.nn.Module(), torch.nn.Module()
        self.feature_extractor.conv_layers = torch.nn.ModuleList(convs)
        self.encoder.transformer = torch.nn.Module()
        self.encoder.transformer.layers = torch.nn.ModuleList([layer])

    def state_dict(self):
        return self.tensors


class Wrapped(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def state_dict(self):
        return {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}


@pytest.fixture
def pipelines(monkeypatch):
    package, pipelines = types.ModuleType("torchaudio"), types.ModuleType("torchaudio.pipelines")
    package.pipelines = pipelines
    monkeypatch.setitem(sys.modules, "torchaudio", package)
    monkeypatch.setitem(sys.modules, "torchaudio.pipelines", pipelines)
    return pipelines


@pytest.mark.parametrize("normalizes", [False, True])
def test_a_bundle_by_name(normalizes, pipelines, build_huggingface, speech):
    model = build_huggingface("group-stable", vocab_size=4)
    module = Wrapped(FakeModule(model)) if normalizes else FakeModule(model)
    pipelines.WAV2VEC2_ASR_TINY = types.SimpleNamespace(
        get_model=lambda: module, get_labels=lambda blank: (blank, "|", "A", "-"), sample_rate=16_000.0
    )
    loaded = load_model("torchaudio:WAV2VEC2_ASR_TINY")
    assert loaded.processor.tokenizer.vocabulary == ("<pad>", "|", "A", "-")
    assert loaded.processor.do_normalize == normalizes and loaded.processor.sample_rate == 16_000
    for ours, theirs in zip(answers(loaded.model, speech[0]), answers(model, speech[0]), strict=True):
        assert (ours - theirs).abs().max() <= 1e-4
    with refused(ModelError, "WAV2VEC2_BASS", "WAV2VEC2_ASR_TINY"):
        load_bundle("torchaudio:WAV2VEC2_BASS")

    def offline():
        raise OSError("no route")

    pipelines.HUBERT_BASE = types.SimpleNamespace(get_model=offline)
    with pytest.raises(ModelError):
        load_bundle("torchaudio:HUBERT_BASE")


def test_a_broken_torchaudio_is_reported_with_its_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    with pytest.raises(ModelError):
        load_model("torchaudio:WAV2VEC2_ASR_BASE_960H")


# Against torchaudio itself


@pytest.fixture(scope="module")
def torchaudio_models():
    try:
        from torchaudio import models
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"import torchaudio fails here: {error}")
    return models


@pytest.mark.parametrize("structure", ["base", "large-lv60", "group-stable", "layer-post", *FAMILIES])
def test_torchaudio_itself_gives_the_same(structure, torchaudio_models, build_model, processor, speech, tmp_path):
    model = build_model(structure)
    save_model(model, processor, tmp_path / "model", to="torchaudio")
    facts = json.loads((tmp_path / "model" / "model.json").read_text())
    theirs = getattr(torchaudio_models, facts["builder"])(**facts["arguments"]).eval()
    theirs.load_state_dict(torch.load(tmp_path / "model" / "model.pt", weights_only=True))
    with torch.no_grad():
        logits, _ = theirs(speech[0])
        layers, _ = theirs.extract_features(speech[0])
    expected = answers(model, speech[0])
    assert (logits - expected[-1]).abs().max() <= 1e-4
    assert all((one - two).abs().max() <= 1e-4 for one, two in zip(layers, expected[1:-1], strict=True))


@pytest.mark.slow
def test_a_real_bundle_of_the_true_base_shape(torchaudio_models, monkeypatch, speech):
    """Its weights are random: what comes over the network is replaced, all else is torchaudio's own."""
    from torchaudio import pipelines

    bundle = pipelines.WAV2VEC2_ASR_BASE_960H
    torch.manual_seed(0)
    # fairseq's dictionary has three tokens more, which the bundle takes out.
    fetched = torchaudio_models.wav2vec2_model(**{**bundle._params, "aux_num_out": 32}).state_dict()
    loaders = sys.modules[bundle.__module__].utils
    monkeypatch.setattr(loaders, "load_state_dict_from_url", lambda *_, **__: dict(fetched))
    loaded = load_model("torchaudio:WAV2VEC2_ASR_BASE_960H")
    assert loaded.processor.tokenizer.characters >= {" ", "E", "'"} and not loaded.processor.do_normalize
    with torch.no_grad():
        expected, _ = bundle.get_model()(speech[0])
        assert (loaded.model(speech[0]).logits - expected).abs().max() <= 1e-4
