"""Conversion: written out in full, compared on audio, and nothing in place where the comparison fails."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.errors import ModelError
from bigfoot.formats import conversion
from bigfoot.formats.conversion import compare_outputs, convert_model, make_speechlike_noise
from bigfoot.formats.dense import densify, expand_groups
from bigfoot.formats.folder import LoadedModel, load_model
from bigfoot.formats.registry import FORMATS
from bigfoot.text.tokenizers import CharTokenizer, Processor
from tests.pairwise import pairwise
from tests.refusals import refused

BEYOND = {
    "grouped": {"conv_groups": [1, 2, 2, 4, 4, 2, 2]},
    "shared": {"conv_sharing": [[1, 2]]},
    "heads": {"layer_num_attention_heads": [1, 3, 2]},
    "widths": {"layer_intermediate_sizes": [40, 8, 24]},
    "wider": {"layer_intermediate_sizes": [64, 8, 24]},
    "all": {"conv_groups": [1, 2, 2, 1, 1, 1, 4], "conv_sharing": [[1, 2]], "layer_num_attention_heads": [3, 3, 1],
            "layer_intermediate_sizes": [8, 40, 40], "ctc_head": False},
}  # fmt: skip


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 9))
@settings(max_examples=25)
def test_an_expanded_kernel_convolves_as_the_grouped_one(groups, ins, outs, width, seed):
    generator = torch.Generator().manual_seed(seed)
    kernel = torch.randn(groups * outs, ins, width, generator=generator)
    x = torch.randn(1, groups * ins, 7, generator=generator)
    grouped = torch.nn.functional.conv1d(x, kernel, groups=groups)
    assert torch.allclose(torch.nn.functional.conv1d(x, expand_groups(kernel, groups)), grouped, atol=1e-5)


@pytest.mark.grid
@pytest.mark.parametrize("structure", ["base", "large-lv60", "wavlm"])
@pytest.mark.parametrize("name", BEYOND)
def test_dense_is_the_same_function_in_a_shape_that_others_know(name, structure, build_model, speech):
    model = build_model(structure, **BEYOND[name])
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    dense, changes = densify(model)
    assert dense.config.is_huggingface_shape and dense.config.conv_sharing is None
    assert len(changes) == (4 if name == "all" else 1)
    with torch.no_grad():
        ours, theirs = (m(speech[0], output_hidden_states=True) for m in (model, dense))
    for one, two in zip(ours.hidden_states, theirs.hidden_states, strict=True):
        assert (one - two).abs().max() < 1e-5
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    kernels = [layer.conv.weight.data_ptr() for layer in dense.speech_encoder.feature_encoder]
    assert len(set(kernels)) == len(kernels)


def test_heads_return_to_their_place_among_the_position_biases(build_model, speech):
    pruned = build_model("wavlm", layer_num_attention_heads=[2, 3, 1], layer_position_heads=[[2, 0], [1, 2, 0], [1]])
    dense, _ = densify(pruned)
    assert dense.config.is_huggingface_shape
    with torch.no_grad():
        ours, theirs = (m(speech[0]).logits for m in (pruned, dense))
    assert (ours - theirs).abs().max() < 1e-5 * ours.abs().max()


FAMILIES = ("base", "large-lv60", "hubert", "hubert-large", "wavlm", "wavlm-large", "data2vec", "unispeech",
            "unispeech-sat", "conformer", "w2v-bert", "sew", "sew-d", "mms", "adapter")  # fmt: skip
_NOT_WAV2VEC2 = [name for name in FAMILIES if name not in ("base", "large-lv60", "mms", "adapter")]
# What a format has no place for.
REFUSED = {
    ("torchaudio", "data2vec"): "data2vec-audio",
    ("torchaudio", "unispeech-sat"): "unispeech-sat",
    ("fairseq", "unispeech-sat"): "unispeech-sat",
    **dict.fromkeys((("torchaudio", "unispeech"), ("fairseq", "unispeech")), "unispeech"),
    **{(to, name): family for to in ("torchaudio", "fairseq") for name, family in (
        ("conformer", "wav2vec2-conformer"), ("w2v-bert", "wav2vec2-bert"), ("sew", "sew"), ("sew-d", "sew-d"),
    )},
    ("torchaudio", "adapter"): "add_adapter",
    **{(to, "adapter"): "num_adapter_layers" for to in ("fairseq", "fairseq2")},
    **{(to, "mms"): "adapter_attn_dim" for to in ("torchaudio", "fairseq", "fairseq2")},
    **{("fairseq2", other): "family" for other in _NOT_WAV2VEC2},
    ("fairseq", "wavlm"): "CTC",
    ("fairseq", "wavlm-large"): "CTC",
}


@pytest.mark.slow
@pytest.mark.grid
@pytest.mark.parametrize(("to", "structure", "head"), pairwise(FORMATS, FAMILIES, (True, False)))
def test_every_family_there_and_back_to_the_bit(to, structure, head, build_model, processor, tmp_path):
    processor = processor if head else Processor(None, do_normalize=False)
    if structure == "w2v-bert":  # its filter banks take samples as they are
        processor = replace(processor, do_normalize=False)
    loaded = LoadedModel(build_model(structure, ctc_head=head), processor)
    if (to, structure) in REFUSED and (head or REFUSED[to, structure] != "CTC"):
        with refused(ModelError, REFUSED[to, structure]):
            convert_model(loaded, tmp_path / "there", to=to)
        return
    assert convert_model(loaded, tmp_path / "there", to=to) == 0
    there = load_model(tmp_path / "there")
    assert there.processor.tokenizer == processor.tokenizer and (there.model.head is not None) == head
    assert there.processor.do_normalize == processor.do_normalize
    assert there.model.config.family == loaded.model.config.family
    assert convert_model(there, tmp_path / "back", to="bigfoot") == 0
    given, back = loaded.model.state_dict(), load_model(tmp_path / "back").model.state_dict()
    assert set(given) - set(back) <= {name for name in given if name.endswith(FORMATS[to].leaves_out)}
    assert all(torch.equal(given[name], tensor) for name, tensor in back.items())


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["hubert", "wavlm", "data2vec"])
def test_every_family_is_compared_in_its_own_format(structure, build_model, processor, tmp_path):
    loaded = LoadedModel(build_model(structure, conv_groups=[1, 2, 2, 2, 2, 2, 2]), processor)
    assert convert_model(loaded, tmp_path / "there", to="huggingface", dense=True) <= 1e-5
    assert load_model(tmp_path / "there").model.config.family == loaded.model.config.family


def test_what_is_dense_already_stays_as_it_is(build_model):
    model = build_model("base")
    dense, changes = densify(model)
    assert changes == []
    assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in dense.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("to", ["huggingface", "torchaudio"])
def test_a_grouped_student_leaves_only_dense(to, build_model, processor, tmp_path):
    loaded = LoadedModel(build_model("base", **BEYOND["all"] | {"ctc_head": True}), processor, [{"step": "student"}])
    with refused(ModelError, "conv_groups"):
        convert_model(loaded, tmp_path / "there", to=to)
    assert not (tmp_path / "there").exists()
    assert convert_model(loaded, tmp_path / "there", to=to, dense=True) <= 1e-5
    again = load_model(tmp_path / "there")
    assert again.model.config.groups_of_convs == [1] * 7
    assert [entry["step"] for entry in again.history] == ["student", "convert"]
    assert len(again.history[1]["changes"]) == 4


def test_noise_has_the_loudness_and_the_length_of_an_utterance():
    noise = make_speechlike_noise()
    assert noise.shape == (1, 160_000)
    assert abs(float(noise.mean())) < 1e-4 and abs(float(noise.std()) - 1) < 1e-3
    assert torch.equal(noise, make_speechlike_noise()) and not torch.equal(noise, make_speechlike_noise(seed=1))
    power = torch.fft.rfft(noise[0]).abs().square()
    assert power[:10_000].sum() > 4 * power[10_000:].sum()  # below and above 1 kHz


def test_one_changed_weight_is_noticed(build_model):
    heads = (True, True, False)
    model, other, none = (LoadedModel(build_model("base", ctc_head=head), Processor()) for head in heads)
    assert compare_outputs(model, other) == 0
    with torch.no_grad():
        other.model.speech_encoder.encoder.layers[2].attention.v_proj.bias[3] += 0.01
    assert compare_outputs(model, other) > 1e-5
    with refused(ModelError, "CTC"):
        compare_outputs(model, none)


def test_a_vocabulary_in_another_order_is_compared_token_by_token(build_model):
    model, other = (build_model("base", vocab_size=size) for size in (3, 4))
    given = LoadedModel(model, Processor(CharTokenizer(("<pad>", "|", "A"))))
    turned = LoadedModel(other, Processor(CharTokenizer(("A", "-", "B", "|"), blank_token="-")))
    other.load_state_dict(model.state_dict() | {
        name: torch.stack([tensor[2], tensor[0], tensor[0] - 9, tensor[1]])
        for name, tensor in model.state_dict().items() if name.startswith("lm_head")
    })  # fmt: skip
    assert compare_outputs(given, turned) <= 1e-6
    with refused(ModelError, "B"):
        compare_outputs(turned, given)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["bigfoot", "huggingface", "fairseq", "torchaudio"])
def test_a_vocabulary_of_any_order_comes_back(to, build_model, tmp_path):
    tokenizer = CharTokenizer(("A", "-", "B", "|"), blank_token="-")
    loaded = LoadedModel(build_model("base", vocab_size=4, pad_token_id=1), Processor(tokenizer))
    assert convert_model(loaded, tmp_path / "there", to=to) <= 1e-5
    again = load_model(tmp_path / "there").processor.tokenizer
    frames = [tokenizer.find_in(again)[token] for token in (0, 0, 1, 0, 3, 2)]
    assert again.decode_ctc(frames) == "AA B"


@pytest.mark.slow
@pytest.mark.parametrize("found", [1e-3, float("nan")])
def test_a_comparison_that_fails_leaves_nothing(found, build_model, processor, tmp_path, monkeypatch):
    loaded = LoadedModel(build_model("base"), processor)
    convert_model(loaded, tmp_path / "old", to="bigfoot")
    stood = {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()}
    monkeypatch.setattr(conversion, "compare_outputs", lambda *_: found)
    for place in ("old", "new"):
        with pytest.raises(ModelError):
            convert_model(loaded, tmp_path / place, to="huggingface")
    assert {path.name for path in tmp_path.iterdir()} == {"old"}
    assert {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()} == stood
