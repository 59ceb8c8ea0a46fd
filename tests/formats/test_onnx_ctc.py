"""ONNX graphs as teachers: any library's form against torch's own convolution; what cannot teach is refused."""

import json
import shutil
from fnmatch import fnmatch

import numpy as np
import pytest
import torch

pytest.importorskip("onnx")

from onnx import TensorProto

from bigfoot.data.batches import LoadedUtterance, collate
from bigfoot.distill.bridge import Bridge
from bigfoot.errors import ModelError
from bigfoot.export.targets import TARGETS
from bigfoot.formats.folder import load_model, outline_model, save_model
from bigfoot.measure.memory import measure_peak_memory
from bigfoot.measure.size import count_params, measure_size
from bigfoot.measure.speed import measure_speed
from bigfoot.models.frames.timing import FrameTiming, frame_timing
from bigfoot.training.pace import count_step_flops
from tests.formats.graphs import KERNEL, LETTERS, STRIDE, draw_weights, expect, save_graph, write_tokens
from tests.refusals import refused

NOISE = 0.1 * np.random.default_rng(1).standard_normal(9000).astype(np.float32)
FORMS = {
    "onnx-asr": {"lengths": ("input_lengths", TensorProto.INT64)},
    "speechbrain": {"audio": "wav", "lengths": ("wav_lens", TensorProto.FLOAT), "output": "log_probs"},
    "optimum": {"mask": "attention_mask", "ends_in": "Identity", "output": "logits"},
    "channel": {"shape": ("B", 1, "N"), "ends_in": "Identity", "output": "found"},
    "probabilities": {"shape": (1, "N"), "ends_in": "Softmax"},
    "half": {"dtype": np.float16},
}  # fmt: skip


def in_one_batch(waves):
    values = torch.full((len(waves), max(map(len, waves)) + 50), 7.0)
    mask = torch.zeros(values.shape, dtype=torch.bool)
    for row, wave in enumerate(waves):
        values[row, : len(wave)], mask[row, : len(wave)] = torch.from_numpy(wave), True
    return values, mask


@pytest.mark.parametrize("form", FORMS)
def test_any_form_gives_its_log_probabilities_alone_and_in_a_batch(form, tmp_path):
    weights = draw_weights()
    file = save_graph(tmp_path / "model.onnx", weights, **FORMS[form])
    write_tokens(tmp_path)
    model = load_model(tmp_path if form == "channel" else file).model
    assert frame_timing(model.config) == FrameTiming(STRIDE, (KERNEL - 1) / 2)
    waves = [NOISE, NOISE[:5555], NOISE[: KERNEL - 1], NOISE[:KERNEL]]
    with torch.no_grad():
        together = model(*in_one_batch(waves))
    lengths = model.speech_encoder.feature_encoder.frame_lengths(torch.tensor([len(wave) for wave in waves]))
    assert together.frame_mask.sum(-1).tolist() == lengths.tolist() == [27, 17, 0, 1]
    for row, wave in enumerate(waves):
        if lengths[row]:
            tolerance = 2e-2 if form == "half" else 1e-4
            wanted = expect(weights, wave[None])
            torch.testing.assert_close(together.logits[row, : lengths[row]], wanted, atol=tolerance, rtol=0)
    assert count_params(model) == weights.size
    assert count_step_flops(model, [model]) == 0.0  # of a graph nothing is counted
    size = measure_size(model, file)
    assert size.size_bytes == file.stat().st_size and size.macs_per_second == 0


def test_bands_of_nemo_are_those_of_its_own_preprocessor(tmp_path):
    asr = pytest.importorskip("onnx_asr")
    weights = draw_weights(channels=80, kernel=8)
    save_graph(
        tmp_path / "model.onnx", weights, stride=8, audio="audio_signal", shape=("B", 80, "N"), gain=3.0,
        lengths=("length", TensorProto.INT64), ends_in="LogSoftmax",
    )  # fmt: skip
    letters = ["\u2581", "\u2581one", "b", "n", "o", "e"]
    write_tokens(tmp_path, letters, name="vocab.txt")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nemo-conformer-ctc", "features_size": 80}))
    teacher = load_model(tmp_path)
    assert frame_timing(teacher.model.config) == FrameTiming(1280.0, 0.0) and not teacher.processor.do_normalize
    theirs = asr.load_model("nemo-conformer-ctc", tmp_path, providers=["CPUExecutionProvider"]).asr
    features, lengths = theirs._preprocessor(NOISE[None], np.array([len(NOISE)]))
    wanted = expect(weights, np.ascontiguousarray(features[0, :, : lengths[0]]), stride=8, gain=3.0)
    with torch.no_grad():
        found = teacher.model(torch.from_numpy(NOISE)[None]).logits[0]
    assert len(found) == len(wanted) == 7
    torch.testing.assert_close(found.exp(), wanted.exp(), atol=1e-4, rtol=0)
    assert teacher.processor.tokenizer.decode_ctc([1, 6, 2, 0, 3]) == "oneb n"


@pytest.fixture(scope="module")
def exported(tmp_path_factory, narrow_teacher):
    """A narrow teacher, and its graphs by target; one without metadata, with files beside it."""
    import onnx

    folder = tmp_path_factory.mktemp("exported")
    teacher = load_model(narrow_teacher)
    for name in ("onnx", "onnx-asr", "sherpa"):
        path = folder / ("own.onnx" if name == "onnx" else name)
        TARGETS[name].build(teacher).save(path)
    bare = onnx.load(folder / "own.onnx")
    del bare.metadata_props[:]
    (folder / "bare").mkdir()
    onnx.save(bare, folder / "bare" / "model.onnx")
    for file in narrow_teacher.iterdir():
        if file.suffix == ".json" and file.name != "config.json":
            (folder / "bare" / file.name).write_bytes(file.read_bytes())
    return teacher, folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own.onnx", "onnx-asr", "sherpa", "bare"])
def test_distillation_targets_are_those_of_the_model_it_was_exported_from(exported, name):
    teacher, folder = exported
    graph = load_model(folder / name)
    student = load_model("tiny_teacher")
    assert frame_timing(graph.model.config) == frame_timing(teacher.model.config)
    waves = [NOISE * 3, NOISE[:6001], NOISE[:399]]
    batch = collate([LoadedUtterance(f"u{row}", "s", "", wave) for row, wave in enumerate(waves)], student.processor)
    targets = []
    for source in (teacher, graph):
        bridge = Bridge.between(student.model.config, source.model.config)
        bridge = bridge.with_processors(student.processor, source.processor, student.model.config.vocab_size)
        with torch.no_grad():
            output = source.model(bridge.find_audio(batch), batch.attention_mask)
            targets.append(bridge.cross(output, output.frame_mask, 28).logits.log_softmax(-1).exp())
        assert output.frame_mask.sum(-1).tolist() == [27, 18, 0]
    for row, frames in enumerate((27, 18)):
        torch.testing.assert_close(targets[0][row, :frames], targets[1][row, :frames], atol=1e-4, rtol=0)


def test_eight_kilohertz_are_resampled_inside(tmp_path):
    weights = draw_weights()
    save_graph(tmp_path / "model.onnx", weights)
    write_tokens(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"sampling_rate": 8000, "do_normalize": False}))
    teacher = load_model(tmp_path)
    timing = frame_timing(teacher.model.config)
    assert timing.period == pytest.approx(2 * STRIDE) and timing.first == pytest.approx(KERNEL - 0.5, abs=2)
    assert teacher.processor.sample_rate == 16_000 and not teacher.processor.do_normalize
    tone = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000, dtype=np.float32)
    with torch.no_grad():
        found = teacher.model(torch.from_numpy(tone)[None]).logits[0].exp()
    wanted = expect(weights, tone[None, ::2].copy()).exp()
    torch.testing.assert_close(found[2 : len(wanted) - 2], wanted[2:-2], atol=1e-2, rtol=0)


REFUSED = {
    "features": {"audio": "features", "shape": ("B", 80, "N")},
    "odd bands": {"audio": "audio_signal", "shape": ("B", 64, "N")},
    "one length": {"shape": ("B", 16_000)},
    "a batch of 4": {"shape": (4, "N")},
    "a state": {"state": "state"},
    "frames of 50": {"frames": "static"},
}


@pytest.mark.parametrize("fault", REFUSED)
def test_graphs_that_cannot_teach_are_refused(fault, tmp_path):
    bands = REFUSED[fault].get("shape", ("B", "N"))
    weights = draw_weights(channels=bands[1]) if len(bands) == 3 else draw_weights()
    save_graph(tmp_path / "model.onnx", weights, **REFUSED[fault])
    write_tokens(tmp_path)
    with refused(ModelError, "model.onnx"):
        outline_model(tmp_path)


def test_vocabularies_beside_a_graph(tmp_path):
    file = save_graph(tmp_path / "model.onnx", draw_weights())
    with refused(ModelError, "tokens.txt"):
        load_model(file)
    write_tokens(tmp_path, LETTERS[:-1])
    with refused(ModelError, str(len(LETTERS) + 1)):
        load_model(file)
    write_tokens(tmp_path, blank=None)  # NeMo's: the blank is the last, and no line names it
    tokenizer = load_model(file).processor.tokenizer
    assert tokenizer.blank_id == len(LETTERS) and tokenizer.decode_ctc([1, 6, 1, 0, 2]) == "AA b"
    (tmp_path / "tokens.txt").unlink()
    vocabulary = {"[PAD]": 3, "|": 0, "a": 1, "b": 2, "n": 4, "o": 5, "e": 6}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": "[PAD]"}))
    tokenizer = load_model(file).processor.tokenizer
    assert tokenizer.blank_id == 3 and tokenizer.decode_ctc([1, 3, 1, 0, 2]) == "aa b"


@pytest.mark.slow
def test_speed_and_memory_of_a_graph_are_measured(tmp_path):
    save_graph(tmp_path / "model.onnx", draw_weights())
    write_tokens(tmp_path)
    model = load_model(tmp_path).model
    assert measure_speed({"teacher": model}, rounds=1, seconds=1.0, threads=1)["teacher"].real_time_factor > 0
    assert measure_peak_memory(tmp_path, 1.0) > 1e7


def test_a_graph_alone_is_fetched_from_the_hub(tmp_path, monkeypatch):
    save_graph(tmp_path / "hub" / "model.onnx", draw_weights())
    write_tokens(tmp_path / "hub")
    here, asked = tmp_path / "here", []

    def snapshot_download(name, allow_patterns, **_):
        asked.append(name)
        here.mkdir(exist_ok=True)
        for file in (tmp_path / "hub").iterdir():
            if any(fnmatch(file.name, pattern) for pattern in allow_patterns):
                shutil.copy(file, here)
        return str(here)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert load_model("someone/graph").model.config.vocab_size == 7
    assert asked == ["someone/graph"] * 2
    assert sorted(file.name for file in here.iterdir()) == ["model.onnx", "tokens.txt"]


def test_what_is_no_graph_and_what_is_not_written(tmp_path):
    for content in (b"", b"no graph", b"\x3a\xff\xff"):
        (tmp_path / "model.onnx").write_bytes(content)
        write_tokens(tmp_path)
        with pytest.raises(ModelError):
            load_model(tmp_path / "model.onnx")
    with pytest.raises(ModelError):
        load_model(tmp_path / "missing.onnx")
    save_graph(tmp_path / "model.onnx", draw_weights())
    save_graph(tmp_path / "model.int8.onnx", draw_weights(seed=1))
    teacher = load_model(tmp_path)
    with pytest.raises(ModelError):
        save_model(teacher.model, teacher.processor, tmp_path / "copy")
    (tmp_path / "model.onnx").rename(tmp_path / "other.onnx")
    with refused(ModelError, "other.onnx"):
        load_model(tmp_path)
