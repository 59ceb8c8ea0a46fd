"""Folders whose weights take fewer bytes: the same numbers back, fewer bytes indeed, words where they are damaged."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCTC

from bigfoot.compress import depth
from bigfoot.compress.quantize import Quantize, apply
from bigfoot.errors import ModelError
from bigfoot.formats.conversion import convert_model, make_speechlike_noise
from bigfoot.formats.folder import LoadedModel, load_model, save_model
from bigfoot.models import BigfootConfig, BigfootForCTC, SpeechEncoder
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.models.reshape import with_new_head, with_small_weights
from bigfoot.models.small_state import pack_state, round_state, unpack_state
from bigfoot.models.small_weights import PRECISIONS, SmallWeights
from tests.refusals import refused

SHAPES = {
    "base": {},
    "grouped, shared": {"conv_groups": [1, 2, 2, 4, 4, 2, 2], "conv_sharing": [[1, 2]]},
    "pruned, low rank, fewer frames": {
        "structure": "large-lv60", "layer_intermediate_sizes": [40, 0, 24], "time_reduction": 2,
        "layer_ranks": [{"q_proj": 4}, {}, {"output_dense": 5}],
    },
    "wavlm": {"structure": "wavlm"},
    "conformer": {"structure": "conformer"},
    "w2v-bert": {"structure": "w2v-bert-adapter"},
    "sew-d": {"structure": "sew-d", "share_att_key": False},
    "data2vec": {"structure": "data2vec", "conv_groups": [1, 2, 2, 2, 2, 2, 2]},
    "batch norm, a decoder": {
        "structure": "hubert-batch-norm", "decoder": {"num_layers": 1, "hidden_size": 16, "num_heads": 2}
    },
}  # fmt: skip
SAVED = [("base", each) for each in PRECISIONS]
SAVED += [(shape, each) for shape in SHAPES for each in ("float16", "int8_static") if shape != "base"]
STORED = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def make_wave(seconds=0.6, seed=0):
    wave = make_speechlike_noise(seconds, seed)
    return PaddedAudio(wave, torch.ones_like(wave))


@pytest.fixture(scope="module")
def make_small(build_model):
    """A random model of a shape with small weights: ``make_small(precision, shape="base", keep_fp32=())``."""

    def make(precision, shape="base", keep_fp32=()):
        model = build_model(**({"structure": "base"} | SHAPES[shape]))
        return apply(model, Quantize(precision, keep_fp32), [make_wave()])[0]

    return make


@torch.no_grad()
def answers(model, wave, mask=None):
    return model(wave, mask).logits


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "precision"), SAVED)
def test_what_was_made_small_comes_back_to_the_bit(make_small, processor, tmp_path, precision, shape):
    model = make_small(precision, shape)
    save_model(model, processor, tmp_path / "one")
    loaded = load_model(tmp_path / "one")
    opened, info = AutoModelForCTC.from_pretrained(tmp_path / "one", output_loading_info=True)
    assert type(opened) is BigfootForCTC and not any(info.values()), info
    for again in (loaded.model, opened):
        assert again.config.precision == precision
        assert again.config.small == model.config.small
        assert not again.training
        found = again.state_dict()
        assert found.keys() == model.state_dict().keys()
        for name, tensor in model.state_dict().items():
            assert torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype, name
        assert torch.equal(answers(again, make_wave(1.0, 5)[0]), answers(model, make_wave(1.0, 5)[0]))
    save_model(loaded.model, loaded.processor, tmp_path / "two")
    assert (tmp_path / "one/model.safetensors").read_bytes() == (tmp_path / "two/model.safetensors").read_bytes()
    assert (tmp_path / "one/config.json").read_bytes() == (tmp_path / "two/config.json").read_bytes()


@pytest.mark.slow
def test_an_encoder_alone_comes_back_too(make_small, tmp_path):
    model = make_small("int8_static", "grouped, shared")
    model.save_pretrained(tmp_path / "whole")
    model.speech_encoder.save_pretrained(tmp_path / "encoder")
    expected = model.speech_encoder.state_dict()
    for bare in (AutoModel.from_pretrained(tmp_path / "whole"), SpeechEncoder.from_pretrained(tmp_path / "encoder")):
        assert type(bare) is SpeechEncoder
        assert all(torch.equal(tensor, expected[name]) for name, tensor in bare.state_dict().items())


def test_settings_of_from_pretrained_are_heeded(make_small, tmp_path):
    make_small("int8").save_pretrained(tmp_path)
    model = BigfootForCTC.from_pretrained(tmp_path, final_dropout=0.25, dtype=torch.bfloat16)
    assert (model.config.final_dropout, model.dtype) == (0.25, torch.bfloat16)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "share"), [("float16", 0.51), ("bfloat16", 0.51), ("int8", 0.27)])
def test_the_folder_is_as_small_as_it_says(tmp_path, precision, share):
    teacher = load_model("tiny_teacher")
    save_model(apply(teacher.model, Quantize(precision))[0], teacher.processor, tmp_path / "small")
    before = (teacher.folder / "model.safetensors").stat().st_size
    assert (tmp_path / "small" / "model.safetensors").stat().st_size < share * before


@pytest.mark.slow
def test_what_is_written_of_each_tensor(make_small, tmp_path):
    layer = "encoder.layers.1.attention.q_proj"
    for precision in PRECISIONS:
        make_small(precision, "base", [layer]).save_pretrained(tmp_path / precision)
        tensors = load_file(tmp_path / precision / "model.safetensors")
        prefix = "wav2vec2" if precision in STORED else "bigfoot"
        stored = STORED.get(precision, torch.int8)
        # Weights of a layer that computes in fp32 are small all the same, where layers compute at all.
        kept = stored if "_" in precision else torch.float32
        assert tensors[f"{prefix}.{layer}.weight"].dtype == kept
        assert tensors[f"{prefix}.encoder.layers.1.attention.k_proj.weight"].dtype == stored
        assert tensors[f"{prefix}.encoder.layers.1.attention.k_proj.bias"].dtype == torch.float32
        first = f"{prefix}.feature_extractor.conv_layers.0.conv.weight"
        assert tensors[first].dtype == STORED.get(precision, torch.float32)
        if stored == torch.int8:
            assert tensors[f"{prefix}.encoder.pos_conv_embed.conv.weight_scale"].shape == (24,)
            assert tensors["bigfoot_lm_head.weight"].dtype == torch.float32


def test_int8_weights_are_within_half_a_step(build_model):
    model = build_model()
    small = with_small_weights(model, SmallWeights("int8"))
    for part in (
        "feature_extractor.conv_layers.3.conv", "encoder.pos_conv_embed.conv", "encoder.layers.1.attention.k_proj",
    ):
        one, other = (each.speech_encoder.get_submodule(part).weight for each in (model, small))
        step = one.flatten(1).abs().amax(1) / 127
        assert ((one - other).flatten(1).abs().amax(1) <= 0.51 * step).all() and not torch.equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8_static", "int8_dynamic"])
def test_an_answer_does_not_know_its_batch(make_small, precision):
    model = make_small(precision, "pruned, low rank, fewer frames")
    wave, samples = make_wave(1.1, 3)[0], (17_600, 9_000, 300)
    mask = torch.arange(17_600)[None] < torch.tensor(samples)[:, None]
    with torch.no_grad():
        together = model(wave.expand(3, -1), mask, output_hidden_states=True, output_attentions=True)
        for row, length in enumerate(samples):
            alone = model(wave[:, :length], output_hidden_states=True, output_attentions=True)
            frames = int(together.frame_mask[row].sum())
            assert torch.equal(together.logits[row, :frames], alone.logits[0, :frames])
            for here, there in zip(together.hidden_states, alone.hidden_states, strict=True):
                assert torch.equal(here[row, :frames], there[0, :frames])
            inner = (slice(None), slice(frames // 2), slice(frames // 2))
            assert torch.equal(together.attentions[0][row][inner], alone.attentions[0][0][inner])
    assert together.logits.shape[1] == together.frame_mask.shape[1]


@pytest.mark.slow
def test_back_to_fp32_with_the_same_values(make_small, build_model, processor, tmp_path):
    for precision in PRECISIONS:
        small = make_small(precision)
        again = apply(small, Quantize("float32"))[0]
        assert again.config.small_weights is None and again.config.weight_prefix == "wav2vec2"
        assert again.state_dict().keys() == build_model().state_dict().keys()
        if not small.config.small.computes_int8:
            wave = make_wave(1.0, 5)[0]
            assert (answers(again, wave) - answers(small, wave)).abs().max() < 1e-4
        depth.apply(again, depth.Depth(2))


@pytest.mark.grid
@pytest.mark.parametrize("precision", ["float16", "int8", "int8_static"])
def test_nothing_is_changed_and_rounded_in_silence(make_small, tmp_path, precision):
    model = make_small(precision)
    for change in (
        lambda: depth.apply(model, depth.Depth(2)),
        lambda: with_new_head(model, 5, 0, seed=1),
        lambda: model.train()(make_wave()[0]),
    ):
        with refused(ModelError, precision, "--precision", "float32"):
            change()
    model.eval()
    layer = model.speech_encoder.get_submodule("encoder.layers.0.attention.q_proj")
    with torch.no_grad():
        layer.weight[0] *= 1.0001
    with refused(ModelError, "layers.0.attention.q_proj.weight"):
        model.save_pretrained(tmp_path)


@pytest.mark.slow
def test_what_cannot_be_rounded_is_refused(build_model):
    model = build_model()
    with torch.no_grad():
        model.head.weight[0, 0] = 1e6
    with refused(ModelError, "lm_head.weight", "1e+06", "torch.float16"):
        apply(model, Quantize("float16"))
    apply(model, Quantize("bfloat16"))
    with torch.no_grad():
        model.head.weight[0, 0] = math.nan
    with pytest.raises(ModelError):
        apply(model, Quantize("int8"))


# Other formats


@pytest.mark.slow
def test_peers_get_fp32_or_words(make_small, processor, tmp_path):
    half = LoadedModel(make_small("float16"), processor)
    assert convert_model(half, tmp_path / "hf", to="huggingface") == 0
    assert {tensor.dtype for tensor in load_file(tmp_path / "hf/model.safetensors").values()} == {torch.float32}
    assert load_model(tmp_path / "hf").model.config.small_weights is None
    eight = LoadedModel(make_small("int8"), processor)
    for to in ("huggingface", "fairseq", "torchaudio"):
        with refused(ModelError, "int8"):
            convert_model(eight, tmp_path / to, to=to)
    assert convert_model(eight, tmp_path / "dense", to="huggingface", dense=True) < 1e-5
    with refused(ModelError, "int8_static"):
        convert_model(LoadedModel(make_small("int8_static"), processor), tmp_path / "no", to="huggingface", dense=True)


@pytest.mark.slow
def test_it_opens_where_bigfoot_is_not(make_small, processor, tmp_path, plain_answers):
    models = {precision: make_small(precision, "grouped, shared") for precision in ("int8_static", "float16")}
    for name, model in models.items():
        convert_model(LoadedModel(model, processor), tmp_path / name, to="bigfoot", with_code=True)
    make_small("bfloat16").save_pretrained(tmp_path / "plain")
    wave = make_wave(1.0, 5)[0]
    tasks = {name: ("AutoModelForCTC+code", tmp_path / name) for name in models}
    found = plain_answers(tasks | {"plain": ("Wav2Vec2ForCTC", tmp_path / "plain")}, wave)
    for name, model in models.items():
        assert not any(found[name]["info"].values()), found[name]["info"]
        assert torch.equal(found[name]["logits"], answers(model, wave))
    # Halves need no code where transformers can say the shape; int8 goes by names that it reports missing.
    assert not any(found["plain"]["info"].values())
    assert (found["plain"]["logits"] - answers(make_small("bfloat16"), wave)).abs().max() < 1e-4


# Damaged folders

SCALE = "bigfoot.encoder.layers.0.attention.q_proj.weight_scale"
WEIGHT = SCALE.removesuffix("_scale")
RANGE = "encoder.layers.0.attention.q_proj"


def change_range(ends):
    return lambda config: config["small_weights"]["ranges"].update({RANGE: ends})


TENSORS = {
    "no scale": (lambda t: t.pop(SCALE), (WEIGHT, SCALE)),
    "a short scale": (lambda t: t.update({SCALE: t[SCALE][1:].clone()}), ("23", "24")),
    "one scale": (lambda t: t.update({SCALE: t[SCALE][0].clone()}), ("24",)),
    "NaN": (lambda t: t[SCALE].fill_(math.nan), (WEIGHT,)),
    "below zero": (lambda t: t[SCALE].neg_(), (WEIGHT,)),
    "scales of another type": (lambda t: t.update({SCALE: t[SCALE].half()}), ("float32",)),
    "a number too low": (lambda t: t[WEIGHT].fill_(-128), (WEIGHT, "-127")),
    "floats": (lambda t: t.update({WEIGHT: t[WEIGHT].float()}), (WEIGHT, "float32", "int8")),
    "integers": (
        lambda t: t.update({"bigfoot_lm_head.weight": t["bigfoot_lm_head.weight"].to(torch.int8)}),
        ("bigfoot_lm_head.weight", "int8", "float32"),
    ),
    "a shape": (lambda t: t.update({WEIGHT: t[WEIGHT][:, 1:].clone()}), ("24", "23")),
    "a scale too many": (
        lambda t: t.update({"bigfoot_lm_head.weight_scale": torch.ones(32)}), ("bigfoot_lm_head.weight_scale",),
    ),
}  # fmt: skip
CONFIGS = {
    "no word": (lambda c: c.pop("small_weights"), ()),
    "an unknown precision": (lambda c: c["small_weights"].update(precision="int4"), ("int4", "float16")),
    "no precision": (lambda c: c["small_weights"].pop("precision"), ("float16",)),
    "a number": (lambda c: c.update(small_weights=8), ("small_weights", "8")),
    "an unknown field": (lambda c: c["small_weights"].update(bits=4), ("small_weights", "precision")),
    "no ranges": (lambda c: c["small_weights"].pop("ranges"), ("int8_static",)),
    "a range too few": (lambda c: c["small_weights"]["ranges"].pop(RANGE), (RANGE,)),
    "a range too many": (lambda c: c["small_weights"]["ranges"].update(x=[0, 1]), ("x", "int8")),
    "a range without end": (change_range([-1.0, math.inf]), (RANGE,)),
    "a range that is not": (change_range([1.0, 2.0]), (RANGE,)),
    "a range in words": (change_range("wide"), (RANGE,)),
    "fine numbers": (lambda c: c["small_weights"].update(fine=[3]), ("fine",)),
    "fine names that are unknown": (lambda c: c["small_weights"].update(fine=["x"]), ("x", "int8")),
}


@pytest.fixture(scope="module")
def saved(make_small, processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "model"
    save_model(make_small("int8_static"), processor, folder)
    return folder


@pytest.mark.parametrize("fault", TENSORS)
def test_damaged_weights_are_refused(saved, tmp_path, fault):
    damage, named = TENSORS[fault]
    tensors = load_file(saved / "model.safetensors")
    damage(tensors)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_bytes((saved / "config.json").read_bytes())
    with refused(ModelError, *named):
        load_model(tmp_path)
    if fault not in ("a shape", "a scale too many"):  # transformers itself tells of those
        with refused(ModelError, *named):
            BigfootForCTC.from_pretrained(tmp_path)


@pytest.mark.parametrize("fault", CONFIGS)
def test_damaged_configurations_are_refused(saved, tmp_path, fault):
    damage, named = CONFIGS[fault]
    config = json.loads((saved / "config.json").read_text())
    damage(config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((saved / "model.safetensors").read_bytes())
    with refused(ModelError, *named):
        load_model(tmp_path)


def test_another_precision_than_the_weights_have(make_small, processor, tmp_path, edit_json):
    save_model(make_small("float16"), processor, tmp_path / "model")
    edit_json(tmp_path / "model" / "config.json", small_weights={"precision": "bfloat16"})
    with refused(ModelError, "float16", "bfloat16"):
        load_model(tmp_path / "model")


def test_a_configuration_says_how(edit_json):
    config = BigfootConfig(small_weights={"precision": "int8"})
    assert (config.precision, config.has_int8_weights, config.is_huggingface_shape) == ("int8", True, False)
    half = BigfootConfig(small_weights={"precision": "float16"})
    assert (half.precision, half.has_int8_weights, half.weight_prefix) == ("float16", False, "wav2vec2")
    with refused(ModelError, "int3", "small_weights.precision"):
        BigfootConfig(small_weights={"precision": "int3"})


def test_packing_what_was_rounded_loses_nothing():
    torch.manual_seed(0)
    sizes = {"p.up.upsampler.weight": (3, 4, 2), "p.up.upsampler.bias": (4,), "p.a.weight": (4, 3)}
    state = {name: torch.randn(size) for name, size in sizes.items()}
    for small in map(SmallWeights, PRECISIONS[:3]):
        layers = ("up.upsampler", "a")
        rounded = round_state(state, small, layers, "p")
        packed = pack_state(rounded, small, layers, "p")
        back = unpack_state(packed, small, layers, "p", "here")
        assert all(torch.equal(back[name], rounded[name]) for name in state) and back.keys() == state.keys()
        if small.is_int8:
            assert packed["p.up.upsampler.weight_scale"].shape == (4, 2)
