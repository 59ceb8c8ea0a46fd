"""Every field of every JSON file that is read beside a model, replaced by values of other kinds and sizes.

A folder opens, or is refused by ``ModelError``: no other exception, and no memory for what a number claims.
"""

import json
import math
import resource
import shutil

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bigfoot.errors import ModelError
from bigfoot.formats.folder import load_model, outline_model, save_model
from bigfoot.models import BigfootConfig, BigfootForCTC
from bigfoot.models.shape_fields import OWN_FIELDS, RULES
from bigfoot.runtime.metadata import read_facts
from bigfoot.text.tokenizers import CharTokenizer, Processor

NUMBERS = st.one_of(
    st.sampled_from([-1, 0, 1, 2, 10**6, 10**9, 10**12, 2**63, -(10**12), 10**300, 0.5, 1e300, math.nan, math.inf]),
    st.integers(-5, 40),
)
PLAIN = st.one_of(st.none(), st.booleans(), NUMBERS, st.sampled_from(["", "x", "\ud800", "owner/kernel", "a" * 5000]))
VALUES = st.recursive(
    PLAIN, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from("ab01"), inner)),
    max_leaves=6,
)  # fmt: skip
FRAMEWORK = {
    "num_labels": 2, "id2label": {"0": "a"}, "label2id": {"a": 0}, "attn_implementation": "sdpa", "dtype": "float32",
    "experts_implementation": "eager", "per_layer_config": {}, "torch_dtype": "float32", "problem_type": None,
    "architectures": ["BigfootForCTC"], "auto_map": {}, "transformers_version": "5", "rope_scaling": {"type": "x"},
    "rope_theta": 1.0, "layer_types": ["full_attention"], "quantization_config": {}, "is_encoder_decoder": False,
    "output_hidden_states": True, "return_dict": False, "name_or_path": "x", "_name_or_path": "x", "backbone": "x",
    "_attn_implementation_internal": "x", "tie_word_embeddings": True, "chunk_size_feed_forward": 2,
}  # fmt: skip
SETTINGS = {
    "special_tokens_map.json": {"pad_token": "<pad>", "unk_token": {"content": "<unk>"}},
    "tokenizer_config.json": {
        "tokenizer_class": "Wav2Vec2CTCTokenizer", "pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>",
        "eos_token": "</s>", "word_delimiter_token": "|", "do_lower_case": False, "replace_word_delimiter_char": " ",
        "phone_delimiter_token": " ", "added_tokens_decoder": {"0": {"content": "<pad>", "special": True}},
        "additional_special_tokens": [], "clean_up_tokenization_spaces": False,
    },
    "added_tokens.json": {"<new>": 5},
    "preprocessor_config.json": {"sampling_rate": 16000, "do_normalize": True, "return_attention_mask": False},
    "history.json": {"steps": []},
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(build_model, tmp_path_factory):
    """A native folder, and one of transformers' layout, with every settings file."""
    root = tmp_path_factory.mktemp("fuzzed")
    tokenizer = CharTokenizer(("<pad>", "<unk>", "|", "A", "B"))
    for to in ("bigfoot", "huggingface"):
        save_model(build_model(vocab_size=6), Processor(tokenizer), root / to, to=to)
        (root / to / "processor_config.json").unlink()
        for name, content in SETTINGS.items():
            (root / to / name).write_text(json.dumps(content))
    return root


def opens_or_is_refused(folder, load=outline_model):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        load(folder)
    except ModelError as error:
        assert len(str(error)) < 5_000 and str(error).encode()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_every_field_has_a_rule():
    assert set(RULES) | {"decoder", "small_weights", "task", "frame_encoder", "lora", "streaming"} == OWN_FIELDS


@pytest.mark.slow
@pytest.mark.parametrize("to", ["bigfoot", "huggingface"])
@settings(max_examples=100)
@given(data=st.data())
def test_any_value_in_config_json(to, folders, data):
    file = folders / to / "config.json"
    kept = file.read_text()
    name = data.draw(st.sampled_from(sorted(OWN_FIELDS | FRAMEWORK.keys() | {"add_adapter", "model_type"})))
    try:
        file.write_text(json.dumps(json.loads(kept) | {name: data.draw(VALUES)}))
        opens_or_is_refused(folders / to)
    finally:
        file.write_text(kept)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["bigfoot", "huggingface"])
@settings(max_examples=60)
@given(data=st.data())
def test_any_value_in_the_other_files(to, folders, data):
    name = data.draw(st.sampled_from(sorted(SETTINGS)))
    content = dict(SETTINGS[name])
    content[data.draw(st.sampled_from(sorted(content)))] = data.draw(VALUES)
    file = folders / to / name
    try:
        file.write_text(json.dumps(content))
        opens_or_is_refused(folders / to, load_model if name == "history.json" else outline_model)
    finally:
        file.write_text(json.dumps(SETTINGS[name]))


@pytest.mark.slow
@settings(max_examples=60)
@given(vocabulary=st.dictionaries(st.sampled_from(["<pad>", "|", "A", "\ud800", "", "ab"]), VALUES, max_size=5))
def test_any_vocabulary(folders, vocabulary):
    file = folders / "bigfoot" / "vocab.json"
    kept = file.read_text()
    try:
        file.write_text(json.dumps(vocabulary))
        opens_or_is_refused(folders / "bigfoot")
    finally:
        file.write_text(kept)


@pytest.mark.grid
@pytest.mark.parametrize("name", ["config.json", "vocab.json", *SETTINGS])
@pytest.mark.parametrize("deep", ['{"a":' * 200_000, "[" * 200_000, '{"a":[' * 900 + "]}" * 900])
def test_json_that_is_nested_too_deeply(name, deep, folders, tmp_path):
    shutil.copytree(folders / "bigfoot", tmp_path / "model")
    (tmp_path / "model" / name).write_text(deep)
    opens_or_is_refused(tmp_path / "model", load_model)


def test_of_transformers_fields_none_reaches_the_framework(folders, tmp_path):
    shutil.copytree(folders / "bigfoot", tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    for name, value in FRAMEWORK.items():
        file.write_text(json.dumps(json.loads(file.read_text()) | {name: value}))
    hostile = {"attn_implementation": "owner/kernel", "num_labels": 10**12, "id2label": "x", "per_layer_config": 5}
    file.write_text(json.dumps(json.loads(file.read_text()) | hostile))
    # Also where the folder is opened by transformers' own door.
    for config in (load_model(tmp_path / "model").model.config, BigfootConfig.from_pretrained(tmp_path / "model")):
        usual = BigfootConfig().to_dict()
        changed = {key for key, value in config.to_dict().items() if usual.get(key) != value} - OWN_FIELDS
        assert changed <= {"architectures", "auto_map", "dtype", "transformers_version", "_name_or_path"}
        assert config._attn_implementation != "owner/kernel" and config.num_labels == 2
    assert BigfootForCTC.from_pretrained(tmp_path / "model", attn_implementation="eager").config.hidden_size == 24


GPT2 = {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "vocab_size": 20, "eos_token_id": 19,
        "n_positions": 32, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "resid_pdrop": 0.1,
        "tie_word_embeddings": True, "attn_implementation": "sdpa", "num_labels": 2, "auto_map": {}}  # fmt: skip
NESTED = {
    "decoder": {"kind": "mini_gpt", "hidden_size": 16, "num_layers": 1, "num_heads": 2, "dropout": 0.1, "stride": 2,
                "streams": ["encoder"], "fuse": "pool", "projection": "linear"},
    "decoder.language_model": GPT2,
    "small_weights": {"precision": "int8_static", "keep_fp32": ["lm_head"], "ranges": {"lm_head": [0, 1]}, "fine": []},
    "streaming": {"chunk": 16, "left": 4, "dynamic": True},
    "lora": {"rank": 2, "modules": ["q_proj"]},
    "frame_encoder": {"kind": "whisper", "settings": {"d_model": 8, "encoder_layers": 1, "num_mel_bins": 8}},
}  # fmt: skip


@pytest.mark.slow
@settings(max_examples=100)
@given(data=st.data())
def test_any_value_in_fields_that_hold_fields(folders, data):
    name = data.draw(st.sampled_from(sorted(NESTED)))
    inner = NESTED[name] | {data.draw(st.sampled_from(sorted(NESTED[name]))): data.draw(VALUES)}
    if name == "decoder.language_model":
        name, inner = "decoder", {"kind": "pretrained", "language_model": inner}
    file = folders / "bigfoot" / "config.json"
    kept = file.read_text()
    try:
        file.write_text(json.dumps(json.loads(kept) | {name: inner}))
        # No folder has the weights of such a part: what can be built does not fit.
        opens_or_is_refused(folders / "bigfoot", load_model)
    finally:
        file.write_text(kept)


FACTS = {
    "bigfoot_format": "1", "vocab": '["<pad>", "|", "A"]', "blank_id": "0", "stride": "320", "receptive_field": "400",
    "sample_rate": "16000", "do_normalize": "true", "batch_invariant": "true", "word_delimiter": "|",
}  # fmt: skip


@pytest.mark.slow
@settings(max_examples=100)
@example("vocab", "[" * 100_000)
@example("pieces", '["\ud800"]')
@example("vocab", r'["<pad>", "\ud800", "a"]')
@example("stride", "9" * 5000)
@given(st.sampled_from([*sorted(FACTS), "pieces", "unknown_token"]), VALUES.map(json.dumps) | st.text())
def test_any_metadata_of_an_exported_file(key, value):
    try:
        facts = read_facts(FACTS | {key: value}, "student.onnx")
    except ModelError as error:
        assert len(str(error)) < 5_000
        return
    assert 4_000 <= facts.sample_rate <= 384_000 and 0 <= facts.tokenizer.blank_id < len(facts.tokenizer)


def test_metadata_that_holds():
    assert read_facts(FACTS, "student.onnx").tokenizer.vocabulary == ("<pad>", "|", "A")
