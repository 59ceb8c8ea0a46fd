"""Files beside a model that are no settings of transformers', and the bytes of all of them: anything may stand there.

Each costs one sentence: ``ModelError``, and no memory for what a number claims.
"""

import json
import resource

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from bigfoot.errors import MissingExtraError, ModelError
from bigfoot.formats.folder import load_model, outline_model, save_model
from bigfoot.formats.torchaudio import rename_to_plain
from bigfoot.text.saving import load_tokenizer, save_tokenizer
from bigfoot.text.sentencepieces import train_sentencepiece
from bigfoot.text.tokenizers import CharTokenizer, Processor

ODD = ["", "x", "\ud800", "../..", "/etc/passwd", "model.safetensors", "a" * 5000, 0, -1, 2**63, 10**300, 0.5, 1e300]
VALUES = st.recursive(
    st.sampled_from([None, True, *ODD, float("nan"), float("-inf")]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "0", "<pad>"]), inner),
    max_leaves=6,
)
BYTES = {
    "empty": b"", "BOM": b"\xef\xbb\xbf{}", "UTF-16": '{"a": 1}'.encode("utf-16"), "binary": bytes(range(256)) * 40,
    "a list": b"[]", "a number": b"7", "cut": b'{"a": [1, 2', "two": b"{}{}", "deep": b"[" * 300_000,
    "a lone surrogate": rb'{"\ud800": 0, "pad_token": "\udfff"}', "a long number": b'{"a": ' + b"9" * 6000 + b"}",
    "not a number": b'{"vocab_size": NaN, "hidden_size": Infinity, "<pad>": -Infinity}', "huge": b" " * (5 << 20),
    "doubled keys": b'{"model_type": "wav2vec2", "model_type": 5, "model_type": "bigfoot"}',
}  # fmt: skip


@pytest.fixture(scope="module")
def small():
    return CharTokenizer(("<pad>", "<unk>", "|", "A", "B", "C"))


@pytest.fixture(scope="module")
def folders(build_model, small, tmp_path_factory):
    """A folder of each format."""
    root = tmp_path_factory.mktemp("fuzzed")
    for to in ("bigfoot", "huggingface", "torchaudio"):
        save_model(build_model(vocab_size=6), Processor(small), root / to, to=to)
    return root


def opens_or_is_refused(load, *given):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        return load(*given)
    except (ModelError, MissingExtraError) as error:
        assert len(str(error)) < 20_000 and str(error).encode()
        return None
    finally:
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@pytest.mark.slow
@pytest.mark.parametrize("content", BYTES.values(), ids=BYTES)
def test_any_bytes_in_place_of_a_settings_file(content, folders):
    for to, also in (("bigfoot", ["bigfoot_tokenizer.json", "added_tokens.json"]), ("torchaudio", ["model.json"])):
        names = {path.name for path in (folders / to).glob("*.json")} | set(also)
        for name in sorted(names):
            file = folders / to / name
            kept = file.read_bytes() if file.exists() else None
            file.write_bytes(content)
            try:
                # Of a native folder all but the history is read without the weights.
                light = to == "bigfoot" and name != "history.json"
                opens_or_is_refused(outline_model if light else load_model, folders / to)
            finally:
                file.unlink() if kept is None else file.write_bytes(kept)


@pytest.mark.slow
@settings(max_examples=20)
@example("family", ["wavlm"])
@given(name=st.sampled_from(["family", "builder", "arguments"]), value=VALUES)
def test_any_value_in_torchaudio_s_description(folders, name, value):
    _with(folders / "torchaudio", "model.json", lambda content: content | {name: value})


@pytest.mark.slow
@settings(max_examples=40)
@given(data=st.data())
def test_any_argument_of_torchaudio_s_builder(folders, data):
    known = json.loads((folders / "torchaudio" / "model.json").read_text())["arguments"]
    name, value = data.draw(st.sampled_from([*sorted(known), "unknown"])), data.draw(VALUES)
    _with(folders / "torchaudio", "model.json", lambda content: content | {"arguments": known | {name: value}})


def _with(folder, name, change):
    file = folder / name
    kept = file.read_text()
    try:
        file.write_text(json.dumps(change(json.loads(kept))))
        opens_or_is_refused(load_model, folder)
    finally:
        file.write_text(kept)


@pytest.mark.slow
@settings(max_examples=12)
@given(shape=st.lists(st.integers(0, 4), max_size=4), data=st.data())
def test_any_shape_of_torchaudio_s_tensors(folders, shape, data):
    tensors = torch.load(folders / "torchaudio" / "model.pt", weights_only=True)
    layer = "encoder.transformer.layers.0.attention"
    joined = [f"{layer}.attention.in_proj_weight", f"{layer}.attention.in_proj_bias"]
    for name in joined:
        opens_or_is_refused(rename_to_plain, tensors | {name: torch.zeros(shape)}, "x.pt")
    tensors |= {data.draw(st.sampled_from(sorted(tensors))): torch.zeros(shape)}
    file = folders / "torchaudio" / "model.pt"
    kept = file.read_bytes()
    try:
        torch.save(tensors, file)
        opens_or_is_refused(load_model, folders / "torchaudio")
    finally:
        file.write_bytes(kept)


@pytest.mark.slow
@settings(max_examples=25)
@given(shape=st.lists(st.integers(0, 4), max_size=4), data=st.data())
def test_any_shape_and_kind_of_transformers_tensors(folders, shape, data):
    file = folders / "huggingface" / "model.safetensors"
    kept, tensors = file.read_bytes(), load_file(file)
    old = ["wav2vec2.encoder.pos_conv_embed.conv.weight", "wav2vec2.mask_time_emb_vector", "lm_head.weight"]
    kind = data.draw(st.sampled_from([torch.float16, torch.int8, torch.bool, torch.float8_e4m3fn]))
    tensors |= {data.draw(st.sampled_from([*sorted(tensors), *old])): torch.zeros(shape).to(kind)}
    try:
        save_file(tensors, file)
        opens_or_is_refused(load_model, folders / "huggingface")
    finally:
        file.write_bytes(kept)


@settings(max_examples=30)
@example({"weight_map": {"a": "../huggingface/model.safetensors"}})
@example({"weight_map": {"a": ""}})
@example({"weight_map": {"a": "."}})
@given(st.fixed_dictionaries({"weight_map": VALUES | st.dictionaries(st.sampled_from("ab"), VALUES)}) | VALUES)
def test_any_index_of_shards(folders, content):
    folder = folders / "huggingface"
    (folder / "model.safetensors").rename(folder / "kept")
    index = folder / "model.safetensors.index.json"
    try:
        index.write_text(json.dumps(content))
        assert opens_or_is_refused(load_model, folder) is None, "none of these has every tensor"
    finally:
        index.unlink()
        (folder / "kept").rename(folder / "model.safetensors")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders with a tokenizer of each kind that is saved in a file of its own."""
    pytest.importorskip("sentencepiece")
    root = tmp_path_factory.mktemp("tokenizers")
    (root / "sentencepiece").mkdir()
    save_tokenizer(train_sentencepiece(["ONE TWO", "TWO TEN"], "bpe", 14), root / "sentencepiece")
    for kind in ("phonemes", "huggingface"):
        (root / kind).mkdir()
        settings_of = {"kind": kind, "vocabulary": ["<pad>", "<unk>", "a", "b"], "voice": "en-us", "stress": False}
        (root / kind / "bigfoot_tokenizer.json").write_text(json.dumps(settings_of))
    model = {"type": "WordLevel", "vocab": {"<unk>": 0, "a": 1, "b": 2}, "unk_token": "<unk>"}
    (root / "huggingface" / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": model}))
    return root


def _use(folder):
    tokenizer = load_tokenizer(folder)
    if tokenizer is not None:
        tokenizer.decode_ctc([0, 1, 2, 2, 3])
        assert tokenizer.describe() and len(tokenizer.pieces) == len(tokenizer) and tokenizer.blank_id >= 0
    return tokenizer


@pytest.mark.parametrize("kind", ["sentencepiece", "phonemes", "huggingface"])
@settings(max_examples=60)
@example("vocabulary", "<pad>ab")
@example("vocabulary", ["<pad>", ["a"]])
@given(name=st.sampled_from(["kind", "vocabulary", "algorithm", "voice", "stress"]), value=VALUES)
def test_any_value_in_a_saved_tokenizer(saved, kind, name, value):
    file = saved / kind / "bigfoot_tokenizer.json"
    kept = file.read_text()
    try:
        file.write_text(json.dumps(json.loads(kept) | {name: value}))
        opens_or_is_refused(_use, saved / kind)
    finally:
        file.write_text(kept)


@pytest.mark.parametrize(("kind", "name"), [("sentencepiece", "tokenizer.model"), ("huggingface", "tokenizer.json")])
@pytest.mark.parametrize("content", [*BYTES.values(), b'{"version": "1.0", "model": {"type": "BPE"}}'])
def test_any_bytes_in_a_tokenizer_s_own_file(saved, kind, name, content):
    file = saved / kind / name
    kept = file.read_bytes()
    try:
        file.write_bytes(content)
        opens_or_is_refused(lambda: _use(saved / kind).encode("TEN"))
    except ValueError as error:
        assert "vocabulary" in str(error)
    finally:
        file.write_bytes(kept)
