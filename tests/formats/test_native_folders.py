"""Folders of our own: what plain transformers makes of them, what ours gives back, what a failed write leaves."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForCTC

from bigfoot.errors import ModelError, OutputError
from bigfoot.formats import registry as formats
from bigfoot.formats.folder import load_config, load_model, save_model
from bigfoot.models import BigfootConfig, BigfootForCTC, SpeechEncoder
from bigfoot.models.reshape import load_plain_state, plain_state, with_new_head
from bigfoot.storage.replace import recover_folder
from bigfoot.text.tokenizers import Processor
from tests.refusals import refused

BEYOND = {
    "grouped": {"conv_groups": [1, 2, 2, 4, 4, 2, 2]},
    "shared": {"conv_sharing": [[1, 2]]},
    "heads": {"layer_num_attention_heads": [1, 3, 2]},
    "widths": {"layer_intermediate_sizes": [40, 8, 24]},
    "all": {"conv_groups": [1, 1, 2, 1, 1, 1, 4], "layer_num_attention_heads": [3, 3, 1],
            "layer_intermediate_sizes": [8, 40, 40], "ctc_head": False},
}  # fmt: skip
FAMILIES = {
    "hubert": "HubertForCTC",
    "hubert-large": "HubertForCTC",
    "hubert-without-norm": "HubertForCTC",
    "hubert-batch-norm": "HubertForCTC",
    "wavlm": "WavLMForCTC",
    "wavlm-large": "WavLMForCTC",
    "data2vec": "Data2VecAudioForCTC",
    "unispeech": "UniSpeechForCTC",
    "conformer": "Wav2Vec2ConformerForCTC",
}
OWN_POSITIONS = {
    "wavlm heads": (
        "wavlm", {"layer_num_attention_heads": [2, 3, 1], "layer_position_heads": [[0, 2], [0, 1, 2], [1]]},
    ),
    "wavlm order": ("wavlm", {"layer_position_heads": [[0, 1, 2], [2, 1, 0], [0, 1, 2]]}),
    "data2vec groups": ("data2vec", {"conv_groups": [1, 2, 2, 2, 2, 2, 2]}),
}
SHAPES = {
    "base": ("base", {}),
    "large-lv60": ("large-lv60", {}),
    "headless": ("base", {"ctc_head": False}),
    "no masks": ("base", {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}),
    **{name: ("base", changes) for name, changes in BEYOND.items()},
    **{name: (name, {}) for name in FAMILIES},
    **OWN_POSITIONS,
}


@pytest.fixture(scope="module")
def models(build_model):
    return {name: build_model(structure, **changes) for name, (structure, changes) in SHAPES.items()}


@pytest.fixture(scope="module")
def folders(models, processor, tmp_path_factory):
    """Every model saved in the native format, and in the family's own where that can say it (``hf ...``)."""
    root, saved = tmp_path_factory.mktemp("folders"), {}
    for name, model in models.items():
        saved[name] = root / name
        save_model(model, processor, saved[name], [{"step": "made", "name": name}])
        if model.config.is_huggingface_shape:
            saved[f"hf {name}"] = root / f"hf {name}"
            save_model(model, processor, saved[f"hf {name}"], to="huggingface")
    return saved


def logits_of(model, wave):
    with torch.no_grad():
        return model(wave).logits


# Opened by plain transformers


@pytest.fixture(scope="module")
def opened(folders, speech, plain_answers):
    """What a process without bigfoot says of the folders; one process for all, as it takes seconds to start."""
    tasks = {
        "base": ("Wav2Vec2ForCTC", "base"),
        "large-lv60": ("Wav2Vec2ForCTC", "large-lv60"),
        "no masks": ("Wav2Vec2ForCTC", "no masks"),
        "headless": ("Wav2Vec2Model", "headless"),
        "grouped": ("Wav2Vec2ForCTC", "grouped"),
        "shared": ("Wav2Vec2ForCTC", "shared"),
        "heads": ("Wav2Vec2ForCTC", "heads"),
        "widths": ("Wav2Vec2ForCTC", "widths"),
        "all": ("Wav2Vec2Model", "all"),
        "hf base": ("AutoModelForCTC", "hf base"),
        "hf large-lv60": ("AutoModelForCTC", "hf large-lv60"),
        "hf headless": ("AutoModel", "hf headless"),
        "auto processor": ("AutoProcessor", "hf base"),
        "processor": ("Wav2Vec2Processor", "hf base"),
        "native processor": ("Wav2Vec2Processor", "base"),
        "wavlm heads": ("WavLMForCTC", "wavlm heads"),
        "wavlm order": ("WavLMForCTC", "wavlm order"),
        "data2vec groups": ("Data2VecAudioForCTC", "data2vec groups"),
        **{name: (opener, name) for name, opener in FAMILIES.items()},
        **{f"hf {name}": ("AutoModelForCTC", f"hf {name}") for name in FAMILIES},
        **{f"{name} processor": ("AutoProcessor", f"hf {name}") for name in ("hubert", "wavlm", "data2vec")},
    }
    return plain_answers({name: (opener, folders[f]) for name, (opener, f) in tasks.items()}, speech[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["base", "large-lv60", "no masks", "headless", "hf base", "hf large-lv60", "hf headless",
     *FAMILIES, *(f"hf {name}" for name in FAMILIES)],
)  # fmt: skip
def test_what_transformers_can_say_opens_there_whole(opened, models, speech, name):
    shape = name.removeprefix("hf ")
    answer, model = opened[name], models[shape]
    assert answer["kind"] == FAMILIES.get(shape, "Wav2Vec2Model" if "headless" in name else "Wav2Vec2ForCTC")
    assert not any(answer["info"].values()), answer["info"]
    with torch.no_grad():
        ours = model(speech[0], output_hidden_states=True)
    for here, there in zip(ours.hidden_states, answer["hidden_states"], strict=True):
        assert (here - there).abs().max() < 1e-4
    if "headless" not in name:
        assert (ours.logits - answer["logits"]).abs().max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", [*BEYOND, *OWN_POSITIONS])
def test_what_it_cannot_say_loads_no_weight_at_all(opened, folders, name):
    answer = opened[name]
    ours = load_file(folders[name] / "model.safetensors")
    assert all(tensor_name.startswith("bigfoot") for tensor_name in ours)
    assert answer["info"]["missing_keys"] == answer["names"]
    assert answer["info"]["unexpected_keys"] == sorted(ours)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["auto processor", "processor", "native processor", "hubert processor", "wavlm processor", "data2vec processor"],
)
def test_the_processor_opens_there(opened, speech, tokenizer, name):
    answer = opened[name]
    assert answer["kind"] == "Wav2Vec2Processor"
    expected = speech[0] * 3 + 1
    expected = (expected - expected.mean()) / torch.sqrt(expected.var(correction=0) + 1e-7)
    assert (answer["input_values"] - expected).abs().max() < 1e-4
    assert answer["text"] == "EE T"
    assert answer["labels"] == tokenizer.encode("A CAT")


# Opened by ours


@pytest.mark.grid
@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_comes_back_to_the_bit(models, folders, processor, speech, name):
    loaded = load_model(folders[name])
    expected = models[name].state_dict()
    found = loaded.model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert loaded.model.config.to_diff_dict() | {"dtype": None} == models[name].config.to_diff_dict() | {"dtype": None}
    assert loaded.processor == processor
    assert loaded.history == [{"step": "made", "name": name}]
    assert loaded.folder == folders[name]
    assert not loaded.model.training
    with torch.no_grad():
        first, second = loaded.model(speech[0]), models[name](speech[0])
    assert torch.equal(first.last_hidden_state, second.last_hidden_state)


@pytest.mark.grid
@pytest.mark.parametrize("name", SHAPES)
def test_auto_classes_give_ours(models, folders, speech, name):
    expected = models[name].state_dict()
    config = AutoConfig.from_pretrained(folders[name])
    assert type(config) is BigfootConfig
    model, info = AutoModelForCTC.from_pretrained(folders[name], output_loading_info=True)
    assert type(model) is BigfootForCTC
    assert not any(info.values()), info
    assert all(torch.equal(tensor, expected[key]) for key, tensor in model.state_dict().items())
    encoder = models[name].speech_encoder.state_dict()
    for bare in (AutoModel.from_pretrained(folders[name]), SpeechEncoder.from_pretrained(folders[name])):
        assert type(bare) is SpeechEncoder
        assert bare.state_dict().keys() == encoder.keys()
        assert all(torch.equal(tensor, encoder[key]) for key, tensor in bare.state_dict().items())


@pytest.mark.parametrize("name", ["base", "all"])
def test_an_encoder_saved_alone_comes_back(models, tmp_path, name):
    encoder = models[name].speech_encoder
    encoder.save_pretrained(tmp_path)
    again = SpeechEncoder.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(tensor, again[key]) for key, tensor in encoder.state_dict().items())


def test_shapes_beyond_transformers_have_their_shapes(folders):
    tensors = load_file(folders["all"] / "model.safetensors")
    layer = "bigfoot.encoder.layers.{}."
    assert tensors[layer.format(2) + "attention.q_proj.weight"].shape == (8, 24)
    assert tensors[layer.format(2) + "attention.out_proj.weight"].shape == (24, 8)
    assert tensors[layer.format(0) + "feed_forward.intermediate_dense.weight"].shape == (8, 24)
    assert tensors["bigfoot.feature_extractor.conv_layers.6.conv.weight"].shape == (12, 4, 2)


def test_a_folder_that_claims_another_shape_is_refused(folders, tmp_path, edit_json, models, processor):
    save_model(models["grouped"], processor, tmp_path / "model")
    edit_json(tmp_path / "model" / "config.json", conv_groups=None)
    with refused(ModelError, "bigfoot.encoder.layers.1.layer_norm.bias"):
        load_model(tmp_path / "model")
    edit_json(tmp_path / "model" / "config.json", conv_groups=[1, 5, 1, 1, 1, 1, 1])
    with refused(ModelError, "5"):
        load_model(tmp_path / "model")
    with refused(ModelError, "5"):
        load_config(tmp_path / "model")
    edit_json(tmp_path / "model" / "config.json", conv_groups="two")
    with refused(ModelError, "two"):
        load_model(tmp_path / "model")


@pytest.mark.slow
def test_a_damaged_history_is_refused(models, processor, tmp_path):
    save_model(models["base"], processor, tmp_path / "model")
    for content in ("{}", '{"steps": 3}', "[", "[]"):
        (tmp_path / "model" / "history.json").write_text(content)
        with refused(ModelError, "history.json"):
            load_model(tmp_path / "model")
    (tmp_path / "model" / "history.json").unlink()
    assert load_model(tmp_path / "model").history == []


def test_history_travels_from_step_to_step(models, processor, tmp_path):
    save_model(models["base"], processor, tmp_path / "first", [{"step": "teacher"}])
    first = load_model(tmp_path / "first")
    save_model(first.model, first.processor, tmp_path / "second", [*first.history, {"step": "depth", "é": 1.5}])
    assert load_model(tmp_path / "second").history == [{"step": "teacher"}, {"step": "depth", "é": 1.5}]


def test_a_model_without_vocabulary(models, tmp_path):
    save_model(models["headless"], Processor(None, do_normalize=False), tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.processor == Processor(None, do_normalize=False)
    assert not (tmp_path / "model" / "vocab.json").exists()


@pytest.mark.slow
def test_half_precision_weights_are_saved_and_come_back_as_single(build_model, processor, tmp_path):
    for to in ("bigfoot", "huggingface"):
        model = build_model().half()
        save_model(model, processor, tmp_path / to, to=to)
        again = load_model(tmp_path / to).model
        assert again.dtype == torch.float32
        assert all(torch.equal(t.float(), again.state_dict()[k]) for k, t in model.state_dict().items())


# Whole or not at all


def contents(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_a_write_that_fails_keeps_the_old_folder(models, processor, tmp_path, monkeypatch):
    place = tmp_path / "model"
    save_model(models["base"], processor, place)
    before = contents(place)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, refused(OSError, "No space"):
        patch.setattr(formats, "save_processor", full)
        save_model(models["large-lv60"], processor, place)
    assert contents(place) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_save_that_does_not_reload_is_refused(models, processor, tmp_path, monkeypatch):
    place = tmp_path / "model"
    save_model(models["base"], processor, place)
    before = contents(place)
    original = BigfootForCTC.save_pretrained

    def flip(self, folder, **arguments):
        tensor = self.head.bias.data
        kept = tensor.clone()
        tensor[0] += 1.0
        original(self, folder, **arguments)
        tensor.copy_(kept)

    with monkeypatch.context() as patch, refused(ModelError, "lm_head.bias"):
        patch.setattr(BigfootForCTC, "save_pretrained", flip)
        save_model(models["base"], processor, place)
    assert contents(place) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("kill_at", [1, 2])
def test_killed_between_the_renames(models, processor, tmp_path, monkeypatch, kill_at):
    place = tmp_path / "model"
    save_model(models["base"], processor, place)
    before, calls, rename = contents(place), [], Path.rename

    class Killed(BaseException):
        pass

    def stop(self, target):
        calls.append(target)
        if len(calls) == kill_at:
            raise Killed
        return rename(self, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "rename", stop)
        save_model(models["large-lv60"], processor, place)
    recover_folder(place)
    assert contents(place) == before
    save_model(models["large-lv60"], processor, place)
    assert load_model(place).model.config.feat_extract_norm == "layer"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_recovering_where_nothing_was_lost_does_nothing(tmp_path):
    place = tmp_path / "model"
    recover_folder(place)
    assert not place.exists()
    for folder in (place, tmp_path / "model.old"):
        folder.mkdir()
        (folder / "name").write_text(folder.name)
    recover_folder(place)
    assert (place / "name").read_text() == "model"


def test_leftovers_of_a_killed_run_do_not_mix_in(models, processor, tmp_path):
    place = tmp_path / "model"
    (tmp_path / "model.tmp").mkdir()
    (tmp_path / "model.tmp" / "stray").write_text("x")
    save_model(models["base"], processor, place)
    assert not (place / "stray").exists()


def test_a_file_in_the_way_stays(models, processor, tmp_path):
    place = tmp_path / "model"
    place.write_text("mine")
    with pytest.raises(OutputError):
        save_model(models["base"], processor, place)
    assert place.read_text() == "mine"
    with pytest.raises(OSError):
        save_model(models["base"], processor, place / "below")
    assert place.read_text() == "mine"


# Between shapes


@pytest.mark.grid
@pytest.mark.parametrize("name", SHAPES)
def test_plain_state_does_not_depend_on_the_prefix(models, name):
    model = models[name]
    state = plain_state(model)
    assert all(key.startswith(("encoder.", "head.")) for key in state)
    assert ("head.weight" in state) == (model.head is not None)
    again = BigfootForCTC(model.config)
    load_plain_state(again, state)
    assert all(torch.equal(tensor, again.state_dict()[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", ["base", "headless", "grouped"])
def test_a_new_head_on_the_same_encoder(models, speech, name):
    model = models[name]
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    renewed, again = (with_new_head(model, 50, 3, seed=1) for _ in range(2))
    assert renewed.head.out_features == renewed.config.vocab_size == 50
    assert renewed.config.pad_token_id == 3
    assert torch.equal(renewed.head.weight, again.head.weight)
    assert not torch.equal(renewed.head.weight, with_new_head(model, 50, 3, seed=2).head.weight)
    with torch.no_grad():
        found, expected = (m(speech[0]).last_hidden_state for m in (renewed, model))
    assert torch.equal(found, expected)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_a_head_larger_than_its_vocabulary_is_read_back_whole(build_model, processor, tmp_path):
    model = build_model("base", vocab_size=len(processor.tokenizer) + 8)
    save_model(model, processor, tmp_path / "model")
    assert torch.equal(load_model(tmp_path / "model").model.head.weight, model.head.weight)


def test_a_folder_of_a_version_without_marker_is_replaced_and_one_of_others_is_not(models, processor, tmp_path):
    place = tmp_path / "model"
    save_model(models["base"], processor, place)
    (place / ".bigfoot").unlink()
    save_model(models["large-lv60"], processor, place)
    (place / ".bigfoot").unlink()
    (place / "history.json").unlink()  # as Hugging Face's own are
    before = contents(place)
    with refused(OutputError, "config.json"):
        save_model(models["base"], processor, place)
    assert contents(place) == before


def test_files_follow_the_umask(models, processor, tmp_path):
    save_model(models["base"], processor, tmp_path / "model")
    (tmp_path / "made").touch()
    modes = {path.stat().st_mode for path in (tmp_path / "model").iterdir()}
    assert modes == {(tmp_path / "made").stat().st_mode}
