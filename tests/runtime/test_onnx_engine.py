import json
import sys

import numpy as np
import pytest

from bigfoot.errors import MissingExtraError, ModelError
from bigfoot.install import install_hint
from bigfoot.runtime.onnx_engine import OnnxEngine
from bigfoot.runtime.transcriber import Transcriber
from tests.refusals import names, refused
from tests.runtime.tape import METADATA, TapeEngine, write_tape

pytest.importorskip("onnxruntime")


def test_texts_and_batches_of_a_file(tape_file, tapes):
    assert [result.text for result in Transcriber(tape_file, threads=1).transcribe(tapes)] == [*tapes.values()]
    assert Transcriber(str(tape_file.parent), threads=1).facts == OnnxEngine(tape_file, 1).facts


def test_logits_are_those_of_the_graph(tape_file):
    rng = np.random.default_rng(0)
    waves = np.stack([write_tape(rng.integers(0, 10, 40)) for _ in range(3)])
    lengths = np.array([waves.shape[1], 5000, 400])
    answer, expected = OnnxEngine(tape_file, 1).run(waves, lengths), TapeEngine().run(waves, lengths)
    assert answer.frames.tolist() == expected.frames.tolist()
    for row, frames in enumerate(answer.frames):
        np.testing.assert_array_equal(
            answer.logits[row, :frames].argmax(-1), expected.logits[row, :frames].argmax(-1)
        )  # fmt: skip


def test_a_long_file_by_onnx(tape_file):
    ids = np.random.default_rng(0).integers(0, 10, 6000)
    result = Transcriber(tape_file, threads=1).transcribe([write_tape(ids)])[0]
    assert result.text == TapeEngine().facts.tokenizer.decode_ctc(ids.tolist())


def without(*keys, **changes):
    return {key: value for key, value in METADATA.items() if key not in keys} | changes


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, "without bigfoot's metadata"),
        (without(bigfoot_format="2"), "written in format '2', and this bigfoot reads '1'"),
        (without("stride", "vocab"), "vocab is missing; stride is missing"),
        (without("blank_id"), "blank_id is missing"),
        (without(vocab="[1, 2]"), "vocab should be a list of different tokens"),
        (without(vocab='["A", "A"]'), "vocab should be"),
        (without(vocab="[]"), "vocab should be"),
        (without(vocab="{"), "vocab should be"),
        (without(blank_id="99"), "vocab should be"),
        (without(stride="-3"), "stride should be a number of samples, and is '-3'"),
        (without(sample_rate="1e4"), "sample_rate should be a rate in Hz"),
        (without(do_normalize="yes"), "do_normalize should be true, false or inside"),
        (without(batch_invariant="false"), "batch_invariant should be true or per_utterance"),
        (without(vocab='["a", "b"]'), "it gives 10 logits a frame for a vocabulary of 2 tokens"),
    ],
)
def test_metadata_that_is_missing_or_wrong(tape_graph, tmp_path, metadata, reason):
    path = tmp_path / "a.onnx"
    path.write_bytes(tape_graph(metadata=metadata).SerializeToString())
    with pytest.raises(ModelError) as caught:
        OnnxEngine(path, 1)
    assert reason in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"opset": 99}, "operators that ONNX Runtime"),
        ({"domain": "com.example", "last_op": "Secret"}, "operators that ONNX Runtime"),
        ({"last_op": "Nothing"}, "operators that ONNX Runtime"),
        ({"outputs": ("scores", "frames")}, "output logits should be tensor(float) of 3 dimensions, and is missing"),
    ],
)
def test_graphs_that_do_not_run_here(tape_graph, tmp_path, changes, reason):
    path = tmp_path / "a.onnx"
    path.write_bytes(tape_graph(**changes).SerializeToString())
    with pytest.raises(ModelError) as caught:
        OnnxEngine(path, 1)
    assert reason in str(caught.value)


@pytest.mark.parametrize("kind", ["cut off", "damaged", "text", "empty"])
def test_files_that_are_damaged(tape_file, tmp_path, kind, bigfoot, tapes):
    content = tape_file.read_bytes()
    bad = {
        "cut off": content[: len(content) // 2],
        "damaged": content[:200] + bytes(range(256)) * 2 + content[712:],
        "text": b"version https://git-lfs.github.com/spec/v1",
        "empty": b"",
    }[kind]
    path = tmp_path / "a.onnx"
    path.write_bytes(bad)
    code, output, errors = bigfoot("transcribe", path, *tapes)
    assert (code, output) == (1, "") and errors.startswith(f"error: {path}: ") and len(errors.splitlines()) == 1
    assert names(errors, "empty" if kind == "empty" else "ONNX")


def test_weights_in_another_file_that_is_not_there(tape_graph, tmp_path):
    import onnx

    path = tmp_path / "a.onnx"
    options = {"save_as_external_data": True, "location": "a.data", "size_threshold": 100}
    onnx.save(tape_graph(), path, **options)
    OnnxEngine(path, 1)
    (tmp_path / "a.data").unlink()
    with pytest.raises(ModelError):
        OnnxEngine(path, 1)


def test_folders(tape_file, tmp_path):
    with refused(ModelError, "ONNX"):
        OnnxEngine(tmp_path)
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(tape_file.read_bytes())
    with refused(ModelError, "ONNX", "a.onnx", "b.onnx"):
        OnnxEngine(tmp_path)
    with refused(ModelError, "ONNX"):
        OnnxEngine(tmp_path / "c.onnx")


def test_a_pass_that_fails_is_reported_in_words(tape_file):
    with refused(ModelError, "1", "100"):
        OnnxEngine(tape_file, 1).run(np.zeros((1, 100), np.float32), np.array([100]))


def test_without_onnx_runtime(tape_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with refused(MissingExtraError, install_hint('runtime')):
        OnnxEngine(tape_file)


def test_vocabularies_without_delimiter_and_with_their_own_unknown_token(tape_graph, tmp_path):
    path = tmp_path / "a.onnx"
    vocabulary = ["[PAD]", " ", *"ABCDEFG", "[UNK]"]
    metadata = without(vocab=json.dumps(vocabulary), word_delimiter="", unknown_token="[UNK]")
    path.write_bytes(tape_graph(metadata=metadata).SerializeToString())
    assert Transcriber(path, 1).transcribe([write_tape([2, 0, 3, 9, 1, 4])])[0].text == "AB[UNK] C"
