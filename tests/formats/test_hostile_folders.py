"""Folders whose files lie: refused in words, in little time and memory."""

import json
import os
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from bigfoot.errors import ModelError
from bigfoot.formats.folder import load_model
from bigfoot.formats.weight_files import read_safetensors, read_weights
from bigfoot.text.json_files import MAX_JSON_BYTES
from bigfoot.text.vocabulary_files import MAX_VOCABULARY_BYTES
from tests.refusals import refused


@pytest.fixture
def folder(build_huggingface, tmp_path):
    build_huggingface().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def with_header(header, data=b"\0" * 64, claimed=None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if claimed is None else claimed) + raw + data


def entry(start, end, shape=(4, 4), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


HEADERS = {
    "a header of absurd length": with_header({"a": entry(0, 64)}, claimed=2**62),
    "a header beyond the file": with_header({"a": entry(0, 64)}, claimed=10_000),
    "a header of a hundred megabytes": with_header({"a": entry(0, 64)}, claimed=200_000_000),
    "a header of five megabytes": with_header(b'{"a":[' + b"1," * (5 * 2**19) + b"1]}"),
    "a header nested without end": with_header(b'{"a":' + b"[" * 2**20),
    "no header": b"\x01",
    "a header that is no JSON": with_header(b"{'a'"),
    "a header that is a list": with_header([1, 2]),
    "tensors that overlap": with_header({"a": entry(0, 64), "b": entry(32, 96)}, b"\0" * 96),
    "a tensor beyond the file": with_header({"a": entry(0, 2**40, (2**38,))}),
    "a tensor before the file": with_header({"a": entry(-64, 0)}),
    "offsets the wrong way round": with_header({"a": entry(64, 0)}),
    "a tensor larger than its bytes": with_header({"a": entry(0, 64, (4, 5))}),
    "a tensor of absurd size": with_header({"a": entry(0, 64, (2**40, 2**40))}),
    "a hole between tensors": with_header({"a": entry(0, 16, (4,)), "b": entry(48, 64, (4,))}),
    "a type that there is not": with_header({"a": entry(0, 64, dtype="X99")}),
    "more data than tensors": with_header({"a": entry(0, 64)}, b"\0" * 999),
}


@pytest.mark.parametrize("fault", HEADERS)
def test_safetensors_with_bad_headers(fault, folder):
    (folder / "model.safetensors").write_bytes(HEADERS[fault])
    with pytest.raises(ModelError):
        load_model(folder)


def test_a_good_header_made_by_hand_is_read(folder):
    (folder / "model.safetensors").write_bytes(with_header({"a": entry(0, 64)}))
    assert torch.equal(read_weights(folder)["a"], torch.zeros(4, 4))


@pytest.mark.slow
def test_the_longest_header_is_read(folder):
    count = (2 * 2**20 - 2) // 65
    entries = (f'"{index:06}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for index in range(count))
    (folder / "model.safetensors").write_bytes(with_header(("{" + ",".join(entries) + "}").encode(), b""))
    assert len(read_weights(folder)) == count


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_pipes_in_place_of_files_are_not_opened(name, folder):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with refused(ModelError, name):
        load_model(folder)


@pytest.mark.parametrize(
    ("content", "named"),
    [("[" * 100_000, ("JSON",)), (None, ()),
     ('{"num_hidden_layers": ' + "9" * 100_000 + "}", ("JSON",)), ("[1]", ("JSON",))],
    ids=["nested", "long", "a number without end", "a list"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["config.json", "vocab.json", "preprocessor_config.json", "history.json"])
def test_settings_that_never_end(name, content, named, folder):
    if content is None:
        most = MAX_VOCABULARY_BYTES if name == "vocab.json" else MAX_JSON_BYTES
        content, named = '{"a": "' + "a" * most + '"}', (most,)
    (folder / name).write_text(content)
    with refused(ModelError, *named):
        load_model(folder)


@pytest.mark.parametrize("shard", ["../../secret.safetensors", "/etc/passwd", "a/b.safetensors", "..", 3])
@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
def test_shards_outside_the_folder(shard, kind, folder):
    (folder / "model.safetensors").unlink()
    (folder / f"{kind}.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with refused(ModelError, folder):
        load_model(folder)


ABSURD = [
    ({"num_hidden_layers": 1_000_000}, ("num_hidden_layers", "1000000", "1000")),
    ({"num_hidden_layers": 10**18}, ("1000",)),
    ({"vocab_size": 10**9}, ("vocab_size", "1000000000")),
    ({"hidden_size": 2**40, "num_attention_heads": 1}, ("hidden_size", "1099511627776")),
    ({"intermediate_size": 10**10}, ("intermediate_size", "10000000000")),
    ({"num_conv_pos_embeddings": 10**9}, ("num_conv_pos_embeddings", "1000000000")),
    ({"conv_dim": [10**9] * 7}, ("conv_dim", "1000000000")),
    ({"conv_dim": [8] * 10_000, "conv_kernel": [1] * 10_000, "conv_stride": [1] * 10_000}, ("10000",)),
    ({"num_hidden_layers": 1_000, "hidden_size": 24_000, "intermediate_size": 100_000}, ("1e+10",)),
    # Not absurd in itself, but not what lies in the folder: nothing of that size is built.
    ({"num_hidden_layers": 40, "hidden_size": 6_000, "intermediate_size": 6_000}, ()),
]


@pytest.mark.grid
@pytest.mark.parametrize(("changes", "named"), ABSURD)
@pytest.mark.parametrize("native", [True, False])
def test_configurations_that_ask_for_too_much(changes, named, native, folder, edit_json, build_model, tmp_path):
    if native:
        folder = tmp_path / "native"
        build_model().save_pretrained(folder)
    edit_json(folder / "config.json", **changes)
    with refused(ModelError, *named):
        load_model(folder)


def test_code_of_a_folder_is_not_run(folder, edit_json, tmp_path):
    marker = tmp_path / "marker"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    edit_json(folder / "config.json", auto_map={"AutoConfig": "evil.Config", "AutoModelForCTC": "evil.Model"})
    assert load_model(folder).model.head is not None
    assert not marker.exists()


def test_weights_of_the_wrong_kind(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["wav2vec2.encoder.layer_norm.bias"] = torch.zeros(24, dtype=torch.int64)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert load_model(folder).model.speech_encoder.encoder.layer_norm.bias.dtype == torch.float32


def test_the_pointer_of_a_file_that_was_not_fetched_is_named(tmp_path):
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 94371840\n"
    (tmp_path / "model.safetensors").write_text(pointer)
    with refused(ModelError, "model.safetensors", "git-lfs"):
        read_safetensors(tmp_path / "model.safetensors")
