"""A graph of one chunk gives, frame by frame, what the model gives for the whole recording, whatever the cuts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.audio.files import write_audio
from bigfoot.errors import ModelError
from bigfoot.export.command import ExportRequest, run_export
from bigfoot.export.onnx import build_onnx
from bigfoot.export.streaming import build_streaming
from bigfoot.formats.folder import LoadedModel, save_model
from bigfoot.runtime.stream_engine import StreamEngine
from bigfoot.runtime.transcriber import Transcriber, open_engine
from tests.refusals import refused
from tests.test_imports import modules_after

CHUNKS = {"chunk": 4, "left": 2}
SHAPES = {
    "base": ("base", {"conv_groups": [1, 2, 2, 2, 4, 2, 1], "attention_reuse": [None, 0, None]}),
    "large-lv60": ("large-lv60", {"layer_num_attention_heads": [1, 0, 2], "layer_intermediate_sizes": [7, 5, 0]}),
    "wavlm": ("wavlm", {}),
    "hubert-batch-norm": ("hubert-batch-norm", {}),
    "mms": ("mms", {}),
    "unispeech": ("unispeech", {}),
    "unispeech-sat": ("unispeech-sat", {}),
    "data2vec": ("data2vec", {"streaming": {"chunk": 3, "left": 0}}),
}
LONGEST = 80 + 320 * 31 + 150


@pytest.fixture(scope="module")
def streaming(build_model, processor, tmp_path_factory):
    """Model and engine by shape."""
    folder, made = tmp_path_factory.mktemp("streaming"), {}

    def make(name):
        if name not in made:
            structure, changes = SHAPES[name]
            loaded = LoadedModel(build_model(structure, **({"streaming": CHUNKS} | changes)), processor)
            build_streaming(loaded).save(folder / f"{name}.onnx")
            made[name] = loaded, StreamEngine(folder / f"{name}.onnx", threads=1)
        return made[name]

    return make


@pytest.fixture(scope="module")
def wave():
    """Noise that grows louder and softer, and is silent for a while."""
    noise = np.random.default_rng(0).standard_normal(LONGEST)
    return (0.1 * noise * np.sin(np.arange(LONGEST) / 3000) ** 2).astype(np.float32) * (np.arange(LONGEST) > 700)


def expect(loaded, samples):
    if len(samples) < loaded.model.config.receptive_field:
        return np.zeros((0, 0), np.float32)
    with torch.no_grad():
        return loaded.model(torch.from_numpy(samples)[None]).logits[0].numpy()


def stream_in(stream, samples, cuts):
    parts = [stream.feed(part) for part in np.split(samples, cuts)]
    found = [part for part in [*parts, stream.flush()] if len(part)]
    return np.concatenate(found) if found else np.zeros((0, 0), np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
@settings(max_examples=12, deadline=None)
@given(length=st.integers(0, LONGEST), places=st.lists(st.floats(0, 1), max_size=9))
def test_frames_are_those_of_the_whole_recording_whatever_the_cuts(name, length, places, streaming, wave):
    loaded, engine = streaming(name)
    samples, stream = wave[:length], engine.open_stream()
    cuts = sorted(int(place * length) for place in places)
    expected = expect(loaded, samples)
    for _ in range(2):  # a stream that was flushed is a new one
        found = stream_in(stream, samples, cuts)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.slow
def test_streams_of_a_batch_know_nothing_of_each_other(streaming, wave):
    _, engine = streaming("base")
    chunk = CHUNKS["chunk"] * 320
    rows = np.stack([wave[at : at + 3 * chunk] for at in (1000, 3000, 0)])
    alone = []
    for row in rows:
        state = np.zeros((1, engine.stream.state), np.float32)
        for at in range(3):
            logits, state = engine.step(row[None, at * chunk : (at + 1) * chunk], state)
        alone.append(logits[0])
    state = np.zeros((len(rows), engine.stream.state), np.float32)
    for at in range(3):
        logits, state = engine.step(rows[:, at * chunk : (at + 1) * chunk], state)
    np.testing.assert_allclose(logits, np.stack(alone), atol=1e-5)


@pytest.mark.slow
def test_the_command_writes_what_whole_recordings_run_through_too(streaming, wave, tmp_path):
    loaded, _ = streaming("base")
    save_model(loaded.model, loaded.processor, tmp_path / "model")
    parity = run_export(ExportRequest(str(tmp_path / "model"), tmp_path / "s.onnx", to="streaming"))
    assert not parity.problems
    engine = open_engine(tmp_path / "s.onnx", threads=1)
    rows = np.stack([wave, np.where(np.arange(LONGEST) < 5000, wave, 0)]).astype(np.float32)
    output = engine.run(rows, np.array([LONGEST, 5000]))
    assert output.frames.tolist() == [31, 15]
    for row, length in enumerate((LONGEST, 5000)):
        expected = expect(loaded, rows[row, :length])
        np.testing.assert_allclose(output.logits[row, : len(expected)], expected, atol=1e-4)
    assert Transcriber(engine).transcribe([wave])[0].seconds == pytest.approx(LONGEST / 16_000)


def test_each_form_is_refused_where_the_other_is_meant(streaming, build_model, processor):
    loaded, _ = streaming("base")
    with refused(ModelError, "streaming"):
        build_onnx(loaded)
    with refused(ModelError, "student.streaming.chunk"):
        build_streaming(LoadedModel(build_model(), processor))


@pytest.mark.slow
@pytest.mark.parametrize("source", ["file", "pipe"])
def test_the_command_line_streams_without_torch(source, streaming, tmp_path):
    _, engine = streaming("base")
    noise = (0.2 * np.random.default_rng(1).standard_normal(30_000)).astype(np.float32)
    write_audio(tmp_path / "a.wav", noise)
    expected = Transcriber(engine).transcribe([tmp_path / "a.wav"])[0].text
    argument = "-" if source == "pipe" else str(tmp_path / "a.wav")
    code = (
        f"sys.argv = ['bigfoot', 'transcribe', '--stream', {str(engine.facts.name)!r}, {argument!r}]; "
        f"sys.stdin = open({str(tmp_path / 'a.wav')!r}); runpy.run_module('bigfoot', run_name='__main__')"
    )
    modules, output = modules_after(code)
    assert output.split() == expected.split() != []
    assert "onnxruntime" in modules and not modules & {"torch", "transformers", "lhotse", "omegaconf"}
