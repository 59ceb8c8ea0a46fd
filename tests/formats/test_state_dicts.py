"""``.pt`` files of tensors alone, in every wrapping, read in a shape from elsewhere; and advice that helps."""

import argparse
import json

import pytest
import torch
from safetensors.torch import save_file

from bigfoot.errors import ModelError
from bigfoot.formats.conversion import convert_model
from bigfoot.formats.dense import advise_format, densify
from bigfoot.formats.folder import LoadedModel, load_model, save_model
from bigfoot.formats.huggingface import save_huggingface
from bigfoot.formats.torchaudio_builders import unsupported_parts
from bigfoot.models.notices import warn_once
from bigfoot.models.shape_checks import beyond_huggingface
from tests.refusals import names, refused

STRUCTURES = {"wav2vec2": {"structure": "base"}, "hubert": {"structure": "hubert"}, "wavlm": {"structure": "wavlm"},
              "data2vec": {"structure": "data2vec"},
              "a shape of our own": {"structure": "base", "conv_groups": [1, 2, 2, 2, 2, 2, 2]}}  # fmt: skip
WRAPPINGS = {
    "alone": lambda state: state,
    "under model": lambda state: {"model": state, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}},
    "under state_dict": lambda state: {"state_dict": state, "hyper_parameters": {"lr": 1e-4}},
    "of DDP": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "of DDP under model_state_dict": lambda s: {"model_state_dict": {f"module.model.{n}": t for n, t in s.items()}},
    "under another name": lambda state: {"generator": state, "optimizer": {"state": {0: {"m": torch.ones(2)}}}},
    "deep under other names": lambda state: {"weights": {"of": {"ema": state}}, "step": 3},
    "beside numbers": lambda state: state | {"epoch": 3, "note": "mine"},
    "with a script's arguments": lambda state: {"model": state, "args": argparse.Namespace(lr=0.1, arch="mine")},
}


@pytest.fixture(scope="module", params=STRUCTURES)
def known(request, build_model, processor, tmp_path_factory):
    """A model and its folder."""
    model, folder = build_model(**STRUCTURES[request.param]), tmp_path_factory.mktemp("known") / "model"
    save_model(model, processor, folder)
    return model, folder


def state_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(model, other):
    ours, theirs = model.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
@pytest.mark.grid
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_every_wrapping_opens_with_a_configuration(wrapping, known, tmp_path, processor):
    model, folder = known
    torch.save(WRAPPINGS[wrapping](state_of(model)), tmp_path / "mine.pt")
    for config in (folder, folder / "config.json"):
        loaded = load_model(tmp_path / "mine.pt", config=config)
        assert same(loaded.model, model) and loaded.processor.tokenizer == processor.tokenizer


def test_two_models_under_other_names_are_refused(build_model, processor, tmp_path):
    model = build_model()
    save_model(model, processor, tmp_path / "known")
    torch.save({"student": state_of(model), "teacher": state_of(model)}, tmp_path / "two.pt")
    with pytest.raises(ModelError):
        load_model(tmp_path / "two.pt", config=tmp_path / "known")


@pytest.mark.grid
@pytest.mark.parametrize("before", ["model.", "asr.net.", "module.wrapped.", "wav2vec2.wav2vec2PT."])
def test_a_training_module_holds_more_than_the_model(before, known, tmp_path, processor, caplog):
    """Lightning's ``.ckpt``: the model under a name of the script's, and what else learns or counts beside it."""
    model, folder = known
    warn_once.cache_clear()
    state = {f"{before}{name}": tensor for name, tensor in state_of(model).items()}
    more = {"criterion.weight": torch.ones(3), "step": torch.tensor(5)}
    torch.save({"state_dict": state | more, "epoch": 3}, tmp_path / "mine.ckpt")
    if not model.config.is_huggingface_shape:  # its names stand under no family's prefix
        with pytest.raises(ModelError):
            load_model(tmp_path / "mine.ckpt", config=folder)
        return
    loaded = load_model(tmp_path / "mine.ckpt", config=folder)
    assert same(loaded.model, model) and loaded.processor.tokenizer == processor.tokenizer
    assert "criterion, step" in caplog.text


@pytest.mark.grid
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_file_of_weights_alone_opens_with_a_configuration(name, known, tmp_path):
    model, folder = known
    if name.endswith(".bin"):
        torch.save(state_of(model), tmp_path / name)
    else:
        save_file({f"module.{key}": tensor for key, tensor in state_of(model).items()}, tmp_path / name)
    with refused(ModelError, "--config") as caught:
        load_model(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert same(load_model(tmp_path / name, config=folder).model, model)


def test_without_a_configuration_one_sentence_says_how(known, tmp_path):
    model, _ = known
    torch.save(state_of(model), tmp_path / "mine.pt")
    with refused(ModelError, "--config") as caught:
        load_model(tmp_path / "mine.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.grid
def test_a_configuration_beside_the_file_is_taken(known, tmp_path):
    model, folder = known
    torch.save({"state_dict": state_of(model)}, tmp_path / "mine.pt")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    assert same(load_model(tmp_path / "mine.pt").model, model)


@pytest.mark.slow
def test_the_head_is_as_the_tensors_have_it(build_model, known, tmp_path):
    """Fine-tuned from a published model without a head, or with another."""
    model, folder = known
    state = state_of(model)
    bare = {name: tensor for name, tensor in state.items() if "lm_head" not in name}
    torch.save(bare, tmp_path / "bare.pt")
    assert load_model(tmp_path / "bare.pt", config=folder).model.head is None
    head = {name: tensor[:7].clone() for name, tensor in state.items() if "lm_head" in name}
    torch.save(bare | head, tmp_path / "seven.pt")
    loaded = load_model(tmp_path / "seven.pt", config=folder)
    assert loaded.model.head.out_features == 7 and loaded.missing_text_reason


@pytest.mark.slow
@pytest.mark.parametrize("to", ["fairseq", "torchaudio"])
def test_names_of_other_libraries(to, build_model, processor, tmp_path):
    model = build_model("large-lv60")
    convert_model(LoadedModel(model, processor), tmp_path / "theirs", to=to)
    save_model(model, processor, tmp_path / "known")
    (file,) = (tmp_path / "theirs").glob("*.pt")
    content = torch.load(file, weights_only=False)
    torch.save(content["model"] if to == "fairseq" else {"model": content}, tmp_path / "mine.pt")
    given, found = model.state_dict(), load_model(tmp_path / "mine.pt", config=tmp_path / "known").model.state_dict()
    # fairseq's head is in another order, torchaudio has no vector of masked frames.
    assert all(torch.equal(given[name], tensor) for name, tensor in found.items() if "lm_head" not in name)


@pytest.mark.parametrize("changes", [{"hidden_size": 48}, {"num_hidden_layers": 2}, {"intermediate_size": 8}])
def test_a_configuration_of_another_shape_is_refused(changes, build_model, processor, tmp_path):
    torch.save(state_of(build_model()), tmp_path / "mine.pt")
    save_model(build_model(**changes), processor, tmp_path / "other")
    with pytest.raises(ModelError):
        load_model(tmp_path / "mine.pt", config=tmp_path / "other")


HOLDS_NONE = [{"a": 1}, [torch.zeros(1)], {"model": [1]}, {}, torch.zeros(2), {1: torch.zeros(2)}]


@pytest.mark.parametrize("content", HOLDS_NONE)
def test_what_holds_no_tensors_by_name(content, tmp_path):
    torch.save(content, tmp_path / "mine.pt")
    for config in (None, "tiny_teacher"):
        with pytest.raises(ModelError):
            load_model(tmp_path / "mine.pt", config=config)


@pytest.mark.parametrize("name", ["nosuch.pt", "runs/nosuch.pt", "../nosuch.pth", "./a/b/nosuch.pt"])
def test_a_mistyped_file_is_one_sentence(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError) as caught:
        load_model(name)
    assert len(str(caught.value)) < 100


def test_a_folder_has_a_configuration_of_its_own(known):
    with pytest.raises(ModelError):
        load_model(known[1], config=known[1])


@pytest.mark.slow
@pytest.mark.grid
def test_the_command_takes_a_configuration(bigfoot, known, tmp_path):
    model, folder = known
    torch.save(state_of(model), tmp_path / "mine.pt")
    code, _, _ = bigfoot("convert", tmp_path / "mine.pt", tmp_path / "out", "--config", folder)
    assert code == 0 and same(load_model(tmp_path / "out").model, model)
    code, _, errors = bigfoot("convert", tmp_path / "mine.pt", tmp_path / "none")
    assert code == 1 and "--config" in errors and not (tmp_path / "none").exists()


@pytest.mark.slow
def test_wavlm_without_its_head_goes_to_fairseq(bigfoot, build_model, processor, tmp_path):
    model = build_model("wavlm")
    save_model(model, processor, tmp_path / "given")
    code, _, errors = bigfoot("convert", tmp_path / "given", tmp_path / "refused", "--to", "fairseq")
    assert code == 1 and "--drop-head" in errors
    code, _, _ = bigfoot("convert", tmp_path / "given", tmp_path / "out", "--to", "fairseq", "--drop-head")
    assert code == 0
    found = load_model(tmp_path / "out")
    assert found.model.head is None and found.history[-1]["changes"]
    given = model.speech_encoder.state_dict()
    assert all(torch.equal(given[name], tensor) for name, tensor in found.model.speech_encoder.state_dict().items())


def test_a_head_that_is_not_there_need_not_go(build_model, processor, tmp_path):
    convert_model(LoadedModel(build_model(ctc_head=False), processor), tmp_path / "out", to="bigfoot", drop_head=True)
    assert load_model(tmp_path / "out").history == []


SHAPES = {
    "groups": {"conv_groups": [1, 2, 2, 2, 2, 2, 2]},
    "widths": {"layer_intermediate_sizes": [8, 40, 16]},
    "heads": {"layer_num_attention_heads": [1, 3, 2]},
    "time": {"time_reduction": 2},
    "maps": {"attention_reuse": [None, 0, None]},
    "groups and time": {"conv_groups": [1, 2, 2, 2, 2, 2, 2], "time_reduction": 2},
    "an activation": {"conv_groups": [1, 2, 2, 2, 2, 2, 2], "hidden_act": "relu"},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("beyond", [beyond_huggingface, unsupported_parts])
def test_densify_is_recommended_where_it_helps(shape, beyond, build_model):
    model = build_model(**SHAPES[shape])
    advised = "--densify" in advise_format(model.config, beyond)
    try:
        helps = not beyond(densify(model)[0].config)
    except ModelError:
        helps = False
    assert advised == helps


def test_a_refusal_recommends_what_is_to_be_done(build_model, tmp_path):
    for changes in (SHAPES["groups"], SHAPES["time"]):
        with pytest.raises(ModelError) as caught:
            save_huggingface(build_model(**changes), tmp_path)
        assert ("--densify" in str(caught.value)) == ("conv_groups" in changes)


@pytest.mark.slow
@pytest.mark.grid
@pytest.mark.parametrize("structure", ["hubert", "base", "data2vec"])
@pytest.mark.parametrize("ctc_head", [True, False])
def test_no_head_is_named_that_was_never_there(structure, ctc_head, build_model, processor, tmp_path, caplog):
    warn_once.cache_clear()
    model = build_model(structure, ctc_head=ctc_head)
    convert_model(LoadedModel(model, processor), tmp_path / "out", to="fairseq")
    assert "pre-training head" not in caplog.text


@pytest.mark.parametrize("vocabulary", [None, ["<pad>", *(f"<{index}>" for index in range(50))]])
def test_a_model_without_text_says_so_when_it_is_loaded(vocabulary, build_model, processor, tmp_path, caplog):
    warn_once.cache_clear()
    save_model(build_model(), processor, tmp_path / "model")
    load_model(tmp_path / "model")
    assert "no WER" not in caplog.text
    content = {} if vocabulary is None else {token: index for index, token in enumerate(vocabulary)}
    (tmp_path / "model" / "vocab.json").write_text(json.dumps(content))
    load_model(tmp_path / "model")
    assert names(caplog.text, "WER")
