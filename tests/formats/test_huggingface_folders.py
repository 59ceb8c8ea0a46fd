"""Hugging Face folders as they come: both weight_norm spellings, every kind of weight file, with and without heads."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCTC, Wav2Vec2FeatureExtractor

from bigfoot.data.batch import LoadedUtterance, collate
from bigfoot.errors import ModelError
from bigfoot.evaluation.torch_engine import TorchEngine
from bigfoot.formats.extractor import describe_assumed
from bigfoot.formats.folder import load_model, outline_model, save_model
from bigfoot.formats.huggingface import fetch_folder, save_huggingface
from bigfoot.formats.weight_files import weight_files
from bigfoot.text.tokenizers import Processor, load_processor, save_processor
from tests.conftest import FAMILY_STRUCTURES, inputs_of
from tests.refusals import names, refused

NEW = "parametrizations.weight.original"
POSITIONAL = "encoder.pos_conv_embed.conv."


@pytest.fixture(scope="module")
def theirs(build_huggingface):
    return build_huggingface("base")


@pytest.fixture
def folder(theirs, tmp_path):
    theirs.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def respell(tensors, old_spelling):
    if old_spelling:
        return {k.replace(f"{NEW}0", "weight_g").replace(f"{NEW}1", "weight_v"): v for k, v in tensors.items()}
    return {k.replace("conv.weight_g", f"conv.{NEW}0").replace("conv.weight_v", f"conv.{NEW}1"): v
            for k, v in tensors.items()}  # fmt: skip


def rewrite(folder, change):
    """Change the tensors of a folder."""
    file = folder / "model.safetensors"
    save_file({name: tensor.clone() for name, tensor in change(load_file(file)).items()}, file, {"format": "pt"})


def check_same(theirs, folder, speech):
    with torch.no_grad():
        given, frames = inputs_of(theirs, speech[0])
        found, expected = load_model(folder).model(speech[0]).logits, theirs(**given).logits[:, :frames]
        assert (found - expected).abs().max() < 1e-4


@pytest.mark.parametrize("old_spelling", [True, False])
def test_both_spellings_of_weight_norm(theirs, folder, speech, old_spelling):
    rewrite(folder, lambda tensors: respell(tensors, old_spelling))
    names = set(load_file(folder / "model.safetensors"))
    assert (f"wav2vec2.{POSITIONAL}weight_g" in names) == old_spelling
    assert (f"wav2vec2.{POSITIONAL}{NEW}0" in names) == (not old_spelling)
    check_same(theirs, folder, speech)


@pytest.mark.parametrize("old_spelling", [True, False])
def test_pytorch_files(theirs, folder, speech, old_spelling):
    tensors = respell(load_file(folder / "model.safetensors"), old_spelling)
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    check_same(theirs, folder, speech)


@pytest.mark.slow
def test_sharded_pytorch_files(theirs, folder, speech):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"pytorch_model-00001-of-00002.bin": names[:20], "pytorch_model-00002-of-00002.bin": names[20:]}
    for shard, held in shards.items():
        torch.save({name: tensors[name] for name in held}, folder / shard)
    index = {"weight_map": {name: shard for shard, held in shards.items() for name in held}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    check_same(theirs, folder, speech)


def test_sharded_safetensors_of_transformers(theirs, tmp_path, speech):
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(weight_files(tmp_path)) > 1
    assert not (tmp_path / "model.safetensors").exists()
    check_same(theirs, tmp_path, speech)
    weight_files(tmp_path)[1].unlink()
    with pytest.raises(ModelError):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("structure", "kind", "shard_size"),
    [
        ("base", torch.float16, "9KB"), ("large-lv60", torch.bfloat16, "5GB"),
        ("w2v-bert", torch.bfloat16, "9KB"), ("wavlm", torch.float16, "5GB"),
    ],
)  # fmt: skip
def test_half_precision_of_transformers_is_read_as_single(
    structure, kind, shard_size, build_huggingface, tmp_path, speech
):
    build_huggingface(structure).to(kind).save_pretrained(tmp_path, max_shard_size=shard_size)
    kept = {tensor.dtype for file in weight_files(tmp_path) for tensor in load_file(file).values()}
    assert kept == {kind} and (len(weight_files(tmp_path)) > 1) == (shard_size == "9KB")
    model = load_model(tmp_path).model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not model.training
    check_same(AutoModelForCTC.from_pretrained(tmp_path, dtype=torch.float32).eval(), tmp_path, speech)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("given", [{}, *({"do_normalize": value} for value in (None, False, True))])
def test_audio_is_brought_to_the_model_as_transformers_does(given, nested, tmp_path):
    settings = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16_000} | given
    name, content = ("processor", {"feature_extractor": settings}) if nested else ("preprocessor", settings)
    (tmp_path / f"{name}_config.json").write_text(json.dumps(content))
    wave = np.random.default_rng(0).normal(0.05, 0.1, 900).astype(np.float32)
    theirs = Wav2Vec2FeatureExtractor.from_pretrained(tmp_path)(wave, sampling_rate=16_000, return_tensors="pt")
    ours = collate([LoadedUtterance("one", "s", "", wave)], load_processor(tmp_path))
    assert (ours.input_values - theirs.input_values).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("structure", "normalizes", "masks"),
    [("base", True, False), ("large-lv60", True, True), ("w2v-bert", False, False)],
)
def test_missing_processor_files_are_named(structure, normalizes, masks, build_huggingface, tmp_path, caplog):
    build_huggingface(structure).save_pretrained(tmp_path)
    with caplog.at_level("WARNING", "bigfoot"):
        loaded = load_model(tmp_path)
    assert names(caplog.text, "preprocessor_config.json", "processor_config.json", "vocab.json")
    assert loaded.processor == Processor(do_normalize=normalizes, return_attention_mask=masks)
    assert outline_model(tmp_path).processor == loaded.processor
    with refused(ModelError, "vocab.json"):
        TorchEngine(loaded)
    assert names(describe_assumed(tmp_path, loaded.model.config), "preprocessor_config.json")
    save_processor(loaded.processor, tmp_path)
    assert describe_assumed(tmp_path, loaded.model.config) is None


def test_filter_banks_take_samples_as_they_are(build_huggingface, tmp_path):
    """transformers knows the class by the model's, where the file does not name it."""
    build_huggingface("w2v-bert").save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"num_mel_bins": 80, "stride": 2}))
    assert not load_model(tmp_path).processor.do_normalize


def test_a_pretraining_folder_has_no_head(build_huggingface, tmp_path, speech, caplog):
    fields = {"codevector_dim": 16, "proj_codevector_dim": 16, "num_codevectors_per_group": 8}
    theirs = build_huggingface("large-lv60", cls="Wav2Vec2ForPreTraining", **fields)
    theirs.save_pretrained(tmp_path)
    assert any(name.startswith("quantizer.") for name in load_file(tmp_path / "model.safetensors"))
    with caplog.at_level("WARNING", "bigfoot"):
        check_headless(theirs.wav2vec2, tmp_path, speech)
    assert names(caplog.text, "project_hid", "project_q")


@pytest.mark.parametrize("prefixed", [True, False])
def test_a_bare_encoder_has_no_head(build_huggingface, tmp_path, speech, prefixed):
    theirs = build_huggingface("base", cls="Wav2Vec2Model")
    theirs.save_pretrained(tmp_path)
    assert not any(name.startswith("wav2vec2.") for name in load_file(tmp_path / "model.safetensors"))
    if prefixed:
        rewrite(tmp_path, lambda tensors: {f"wav2vec2.{name}": tensor for name, tensor in tensors.items()})
    check_headless(theirs, tmp_path, speech)


@pytest.mark.grid
def test_a_bare_encoder_of_every_family(family, build_huggingface, tmp_path, speech):
    theirs = build_huggingface(family, cls="AutoModel")
    theirs.save_pretrained(tmp_path)
    check_headless(theirs, tmp_path, speech)


def test_their_defaults_are_the_family_s_own(build_huggingface, tmp_path, edit_json):
    build_huggingface("wavlm", cls="AutoModel", num_buckets=320, max_bucket_distance=800).save_pretrained(tmp_path)
    edit_json(tmp_path / "config.json", num_buckets=None, max_bucket_distance=None, mask_time_prob=None)
    config = load_model(tmp_path).model.config
    assert (config.num_buckets, config.max_bucket_distance, config.mask_time_prob) == (320, 800, 0.05)


def check_headless(theirs, folder, speech):
    loaded = load_model(folder)
    assert loaded.model.head is None
    assert not loaded.model.config.ctc_head
    assert loaded.processor.tokenizer is None
    with torch.no_grad():
        output = loaded.model(speech[0])
        given, frames = inputs_of(theirs, speech[0])
        expected = theirs(**given).last_hidden_state
    assert output.logits is None
    assert (output.last_hidden_state - expected[:, :frames]).abs().max() < 1e-4


def test_missing_left_over_and_misshapen_weights_are_all_listed(folder):
    def spoil(tensors):
        tensors.pop("wav2vec2.encoder.layers.1.attention.q_proj.weight")
        tensors["wav2vec2.encoder.layers.7.layer_norm.bias"] = torch.zeros(24)
        tensors["lm_head.weight"] = torch.zeros(32, 23)
        return tensors

    rewrite(folder, spoil)
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    message = str(caught.value)
    assert names(message, "wav2vec2.encoder.layers.1.attention.q_proj.weight")
    assert names(message, "wav2vec2.encoder.layers.7.layer_norm.bias")
    assert names(message, "lm_head.weight", "32", "23", "24")
    assert len(message.splitlines()) == 4


def test_a_vocabulary_of_another_size_is_no_silent_fit(folder, edit_json):
    edit_json(folder / "config.json", vocab_size=40)
    with refused(ModelError, "lm_head.bias", "32", "40"):
        load_model(folder)


def test_masks_switched_off_need_no_mask_vector(build_huggingface, folder, tmp_path, speech, edit_json):
    theirs = build_huggingface("base", mask_time_prob=0.0, mask_feature_prob=0.0)
    theirs.save_pretrained(tmp_path / "plain")
    check_same(theirs, tmp_path / "plain", speech)
    rewrite(folder, lambda tensors: {k: v for k, v in tensors.items() if "masked_spec_embed" not in k})
    assert load_model(folder).model.speech_encoder.masked_spec_embed is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "seamless_m4t"}, ("seamless_m4t", "wav2vec2", "data2vec-audio")),
        ({"model_type": "granite_speech"}, ("granite_speech", "data.corpus=table")),
        ({"model_type": "speech-encoder-decoder"}, ("speech-encoder-decoder", "data.corpus=table")),
        ({"model_type": "wav2vec2-conformer"}, ("wav2vec2_conformer.encoder.layers.0.attention.k_proj.bias",)),
        ({"model_type": "sew-d", "conv_kernel_size": 3}, ("conv_kernel_size",)),
        ({"model_type": "sew", "squeeze_factor": 1}, ("squeeze_factor",)),
        ({"model_type": "sew-d", "attention_head_size": 7}, ("attention_head_size",)),
        ({"model_type": "sew-d", "pos_att_type": ["c2c"]}, ("pos_att_type", "c2p")),
        ({"model_type": "sew-d", "position_buckets": 2000}, ("position_buckets", "max_position_embeddings")),
        ({"model_type": "wavlm"}, ("wavlm.encoder.layers.0.attention.rel_attn_embed.weight",)),
        ({"model_type": None}, ("None",)),
        ({"add_adapter": True, "output_hidden_size": 30}, ("output_hidden_size", "hidden_size")),
        ({"add_adapter": True, "adapter_kernel_size": 5}, ("adapter_kernel_size",)),
        ({"model_type": "hubert", "add_adapter": True}, ("add_adapter", "hubert")),
        ({"model_type": "hubert", "adapter_attn_dim": 16}, ("adapter_attn_dim",)),
        ({"num_attention_heads": 5}, ("5", "hidden_size", "24")),
        ({"conv_kernel": [3, 3]}, ("7", "2")),
        ({"hidden_size": "wide"}, ("wide", "hidden_size")),
        ({"hidden_act": "sprong"}, ("sprong", "hidden_act")),
        ({"hidden_dropout": "much"}, ("hidden_dropout",)),
        ({"feat_extract_norm": "batch"}, ("group", "layer")),
    ],
)
def test_configs_that_the_encoder_cannot_be(folder, change, named, edit_json):
    edit_json(folder / "config.json", **change)
    with refused(ModelError, *named):
        load_model(folder)


def test_broken_folders(folder, tmp_path):
    file = folder / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError):
        load_model(folder)
    file.unlink()
    with refused(ModelError, "model.safetensors", "pytorch_model.bin"):
        load_model(folder)
    (folder / "model.safetensors.index.json").write_text("{}")
    with refused(ModelError, "weight_map"):
        load_model(folder)
    (folder / "config.json").write_text("{")
    with refused(ModelError, "config.json"):
        load_model(folder)
    (folder / "config.json").write_text("[]")
    with refused(ModelError, "JSON"):
        load_model(folder)
    (folder / "config.json").unlink()
    with refused(ModelError, "config.json"):
        load_model(folder)


class Trap:
    def __reduce__(self):
        return print, ("CODE WAS-RUN",)


@pytest.mark.parametrize("named", ["adapter_config.json", "tf_model.h5", "flax_model.msgpack"])
def test_weights_of_other_kinds_are_named(named, folder):
    content = json.dumps({"base_model_name_or_path": "someone/base"})
    (folder / "model.safetensors").unlink()
    (folder / named).write_text(content)
    wanted = ("someone/base", "merge_and_unload") if "adapter" in named else (named,)
    with refused(ModelError, *wanted):
        load_model(folder)
    if "adapter" in named:
        (folder / "config.json").unlink()
        with refused(ModelError, *wanted):
            load_model(folder)


@pytest.mark.parametrize("content", [Trap(), [1, 2]])
def test_a_pickle_that_is_no_state_dict_is_refused_and_not_run(folder, capsys, content):
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(ModelError):
        load_model(folder)
    assert "CODE WAS-RUN" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"not a pickle at all", b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_damaged_pytorch_file(folder, content):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(ModelError):
        load_model(folder)


@pytest.mark.parametrize("name", ["/no/such/folder", "./nothing", "nothing", "a/b/c"])
def test_names_that_are_no_models(name):
    with pytest.raises(ModelError):
        fetch_folder(name)


@pytest.mark.parametrize("family", FAMILY_STRUCTURES)
def test_every_family_comes_back_to_the_bit(family, build_huggingface, tmp_path, processor):
    theirs = build_huggingface(family)
    theirs.save_pretrained(tmp_path / "model")
    save_model(load_model(tmp_path / "model").model, processor, tmp_path / "back", to="huggingface")
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("model", "back"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    kept, config = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("model", "back"))
    assert (config["model_type"], config["architectures"]) == (theirs.config.model_type, [type(theirs).__name__])
    assert not {key for key, value in config.items() if key in kept and kept[key] != value}


def test_transformers_own_processor_makes_filter_banks_of_what_was_written(build_model, processor, speech, tmp_path):
    from transformers import AutoProcessor

    model = build_model("w2v-bert-adapter")
    save_model(model, replace(processor, do_normalize=False), tmp_path / "written", to="huggingface")
    theirs, banks = (auto.from_pretrained(tmp_path / "written") for auto in (AutoModelForCTC, AutoProcessor))
    wave = speech[0][:, :16_000]
    with torch.no_grad():
        expected = theirs(**banks(wave[0].numpy(), sampling_rate=16_000, return_tensors="pt")).logits
        assert (model(wave).logits - expected).abs().max() < 1e-4
    assert not load_model(tmp_path / "written").processor.do_normalize


def test_the_round_trip_gives_every_bit_back(theirs, folder, tmp_path, processor, edit_json):
    loaded = load_model(folder)
    save_model(loaded.model, processor, tmp_path / "back", to="huggingface")
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "back" / "model.safetensors")
    before = respell(before, old_spelling=False)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    config = json.loads((tmp_path / "back" / "config.json").read_text())
    kept = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "wav2vec2"
    assert config["architectures"] == ["Wav2Vec2ForCTC"]
    differing = {key for key, value in config.items() if key in kept and kept[key] != value}
    assert not differing
    assert load_processor(tmp_path / "back") == processor


def test_their_shape_only(build_model, processor, tmp_path):
    model = build_model(conv_groups=[1, 2, 2, 2, 2, 2, 2], layer_intermediate_sizes=[40, 16, 40])
    with refused(ModelError, "conv_groups", "[40, 16, 40]"):
        save_model(model, processor, tmp_path / "model", to="huggingface")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_no_numbers_are_refused_by_name(value, kind, build_model, tmp_path):
    model = build_model("base")
    save_huggingface(model, tmp_path)
    tensors = {name: tensor.to(kind) for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    for name in ("lm_head.bias", "wav2vec2.encoder.layers.0.attention.q_proj.weight"):
        damaged = {key: tensor.clone() for key, tensor in tensors.items()}
        damaged[name].view(-1)[-1] = value
        save_file(damaged, tmp_path / "model.safetensors")
        with refused(ModelError, name):
            load_model(tmp_path)
    save_file(tensors, tmp_path / "model.safetensors")
    assert load_model(tmp_path).model.head is not None
