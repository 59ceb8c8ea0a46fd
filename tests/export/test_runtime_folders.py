"""Folders for other runtimes: these write what the model writes, and what they would write otherwise is refused."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from bigfoot.compress.quantize import calibrate
from bigfoot.data.batches import LoadedUtterance
from bigfoot.data.synthetic import synthesize_string
from bigfoot.errors import ModelError, OutputError
from bigfoot.evaluation.torch_engine import TorchEngine
from bigfoot.export.audio import padded_audio
from bigfoot.export.command import ExportRequest, run_export
from bigfoot.export.gate import export_checked
from bigfoot.export.targets import TARGETS
from bigfoot.formats.folder import LoadedModel, load_model
from bigfoot.runtime.transcriber import Transcriber
from bigfoot.text.characters import CharTokenizer
from bigfoot.text.phones import PhoneTokenizer
from bigfoot.text.symbols import read_symbols
from bigfoot.text.tokenizers import Processor
from tests.codes import codes
from tests.refusals import refused

FOLDERS = [name for name, target in TARGETS.items() if target.is_folder]
# The blank in the middle, tokens that add nothing, ids without a token, and one that is written though special.
MIXED = CharTokenizer(("A", "<unused1>", "|", "<unk>", "<pad>", "B", "<unused6>", "C"), unknown_token="<unk>")
PHONES = PhoneTokenizer(("<pad>", "<s>", "|", "a", "b", "t", "d", "<unk>"), voice="en-us")


@pytest.fixture(scope="module")
def teacher():
    return load_model("tiny_teacher")


@pytest.fixture(scope="module")
def waves():
    """Strings, one of them very quiet, and less than a frame."""
    found = [synthesize_string(0, "test", index, 1, 3).samples for index in range(3)]
    return [*found, found[0] * np.float32(0.002), found[1][:300]]


def texts_of(loaded, waves):
    return [result.text for result in Transcriber(TorchEngine(loaded), 1).transcribe(waves)]


def read_as_runtimes_do(folder, name, waves):
    """Best symbol of all frames of all rows, merged and joined: what the runtimes do, from the files alone."""
    import onnxruntime

    if name == "transformers-js":
        vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
        symbols = {index: symbol for symbol, index in vocabulary.items()}
    elif name == "web":
        symbols = dict(enumerate(json.loads((folder / "tokens.json").read_text(encoding="utf-8"))["symbols"]))
    else:
        table = next(path for path in (folder / "tokens.txt", folder / "vocab.txt") if path.exists())
        lines = [line.split(" ") for line in table.read_text(encoding="utf-8").splitlines()]
        symbols = {int(index): symbol for symbol, index in lines}
    session = onnxruntime.InferenceSession(next(folder.rglob("model.onnx")))
    if name == "onnx-asr":
        lengths = np.array([len(wave) for wave in waves])
        values = np.stack([np.pad(wave, (0, lengths.max() - len(wave))) for wave in waves])
        batch = session.run(["logprobs"], {"input_values": values, "input_lengths": lengths})[0]
        np.testing.assert_allclose(np.exp(batch[0]).sum(-1), 1, atol=1e-5)
        rows = [row[: length // 320 + 1] for row, length in zip(batch, lengths, strict=True)]
    else:
        assert len(session.get_inputs()) == 1
        # sherpa-onnx normalizes with a larger floor than the model's processor.
        normalized = [(wave - wave.mean()) / np.sqrt(wave.var() + 1e-5) for wave in waves]
        given = normalized if name == "sherpa" else waves
        rows = [session.run(None, {"input_values": wave[None]})[0][0] for wave in given]
    best = [[symbols[index] for index, _ in groupby(row.argmax(-1).tolist())] for row in rows]
    joined = ("".join(symbol for symbol in row if symbol != "<blk>") for row in best)
    return [" ".join(text.replace("\u2581", " ").split()) for text in joined]


@pytest.mark.slow
@pytest.mark.parametrize("vocabulary", [MIXED, PHONES], ids=["characters", "phones"])
@pytest.mark.parametrize("name", FOLDERS)
def test_texts_of_any_vocabulary(name, vocabulary, build_model, waves, tmp_path):
    model = build_model("base", num_hidden_layers=1, vocab_size=len(vocabulary), pad_token_id=vocabulary.blank_id)
    loaded = LoadedModel(model, Processor(vocabulary))
    expected = texts_of(loaded, waves)
    assert len({*expected}) > 3 and expected[-1] == ""
    exported, parity = export_checked(
        loaded, None, [LoadedUtterance(str(n), "", "", wave) for n, wave in enumerate(waves)], build=TARGETS[name].build
    )
    assert parity.max_difference < 1e-4 and parity.texts_changed == 0
    exported.save(tmp_path / "out")
    exported.save(tmp_path / "out")
    assert read_as_runtimes_do(tmp_path / "out", name, waves) == expected
    with refused(ModelError, name):
        Transcriber(next((tmp_path / "out").rglob("model.onnx")), 1)


def recognize_by_sherpa(folder, waves):
    sherpa_onnx = pytest.importorskip("sherpa_onnx")
    recognizer = sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc(
        model=str(folder / "model.onnx"), tokens=str(folder / "tokens.txt"), num_threads=1
    )
    streams = [recognizer.create_stream() for _ in waves]
    for stream, wave in zip(streams, waves, strict=True):
        stream.accept_waveform(16_000, wave)
    recognizer.decode_streams(streams)
    return [stream.result.text for stream in streams]


def recognize_by_onnx_asr(folder, waves):
    onnx_asr = pytest.importorskip("onnx_asr")
    try:
        model = onnx_asr.load_model("wav2vec2-ctc", folder)
    except Exception as error:
        if type(error).__name__ != "ModelNotSupportedError":
            raise
        pytest.skip("this release of onnx-asr has no wav2vec2-ctc; its main branch has")
    return model.recognize(waves, sample_rate=16_000)


def recognize_by_transformers_js(folder, waves):
    place = Path(os.environ.get("BIGFOOT_NODE", ".")).resolve()
    if shutil.which("node") is None or not (place / "node_modules/@huggingface/transformers").exists():
        pytest.skip("no transformers.js: npm install @huggingface/transformers, here or in the folder BIGFOOT_NODE")
    np.concatenate(waves).astype(np.float32).tofile(folder.parent / "waves.f32")
    counts = json.dumps([len(wave) for wave in waves])
    command = ["node", Path(__file__).parent / "run_transformers_js.mjs", folder, folder.parent / "waves.f32", counts]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])["texts"]


RECOGNIZE = {
    "sherpa": recognize_by_sherpa, "onnx-asr": recognize_by_onnx_asr, "transformers-js": recognize_by_transformers_js
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("int8", [False, True], ids=["fp32", "int8"])
@pytest.mark.parametrize("name", RECOGNIZE)
def test_texts_by_the_runtime_itself(name, int8, teacher, waves, tmp_path):
    plan = None
    if int8:
        audio = [LoadedUtterance("", "", "", wave) for wave in waves[:3]]
        plan = calibrate(teacher.model, padded_audio(audio, teacher.processor))
    TARGETS[name].build(teacher, plan).save(tmp_path / "out")
    waves = waves[:3] if int8 else waves
    assert [" ".join(text.split()) for text in RECOGNIZE[name](tmp_path / "out", waves)] == texts_of(teacher, waves)


def test_what_these_runtimes_do_not_do_is_refused(teacher, tmp_path):
    raw = LoadedModel(teacher.model, replace(teacher.processor, do_normalize=False))
    slow = LoadedModel(teacher.model, replace(teacher.processor, sample_rate=8000))
    for name, loaded, named in (("sherpa", raw, "do_normalize"), ("sherpa", slow, 8000), ("onnx-asr", slow, 8000)):
        with refused(ModelError, named, "--to onnx"):
            TARGETS[name].check(loaded)
    for tokenizer in (CharTokenizer(("<pad>", "A"), cleans_up=True), CharTokenizer(("<pad>", "A B")),
                      CharTokenizer(("<pad>", "|", "\u03a3"), lower_case=True)):  # fmt: skip
        with pytest.raises(ModelError):
            read_symbols(tokenizer, "m")
    alike = CharTokenizer(("<pad>", "|", "A", "a"), lower_case=True)
    with refused(ModelError, "transformers.js"):
        TARGETS["transformers-js"].build(LoadedModel(teacher.model, replace(teacher.processor, tokenizer=alike)))


def test_a_folder_is_not_named_as_a_file(tmp_path):
    request = ExportRequest("tiny_teacher", tmp_path / "x.onnx", to="sherpa", normalize=True)
    assert codes(request.find_problems()) == [("OUT", "other_suffix")]
    assert codes(request.find_unused()) == [("--normalize", "not_read")]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.onnx").write_bytes(b"mine")
    with refused(OutputError, "model.onnx"):
        run_export(replace(request, destination=tmp_path / "mine"))
    assert [path.read_bytes() for path in (tmp_path / "mine").iterdir()] == [b"mine"]
