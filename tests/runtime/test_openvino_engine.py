"""OpenVINO keeps prepared operators for every shape: few shapes reach it, and padding to them changes no answer."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bigfoot.runtime.openvino_engine import OpenVinoEngine, compile_ir, read_ir, round_samples


@given(st.integers(1, 40 * 16_000))
@example(64_001)  # to the other side of a power of two
def test_padding_is_short(samples):
    rounded = round_samples(samples)
    assert samples <= rounded < samples + max(3200, samples / 8)
    assert round_samples(rounded) == rounded


@pytest.mark.slow
def test_there_are_few_lengths():
    assert len({round_samples(samples) for samples in range(1, 40 * 16_000)}) <= 80


@pytest.fixture(scope="module")
def narrow_file(build_model, processor, tmp_path_factory):
    pytest.importorskip("openvino")
    from bigfoot.export.openvino import build_openvino
    from bigfoot.formats.folder import LoadedModel

    path = tmp_path_factory.mktemp("openvino") / "narrow.xml"
    build_openvino(LoadedModel(build_model("base"), processor)).save(path)
    return path


@pytest.mark.slow
def test_answers_are_those_without_padding(narrow_file):
    engine, plain = OpenVinoEngine(narrow_file, threads=1), compile_ir(read_ir(narrow_file), narrow_file, threads=1)
    rng = np.random.default_rng(0)
    for lengths in ([16_000], [3201], [400], [9000, 12_345, 700]):
        values = np.zeros((len(lengths), max(lengths)), np.float32)
        for row, length in zip(values, lengths, strict=True):
            row[:length] = rng.standard_normal(length)
        found = engine.run(values, np.array(lengths))
        expected = plain({"input_values": values, "lengths": np.array(lengths)})
        assert found.frames.tolist() == expected["frames"].tolist()
        assert found.logits.shape == expected["logits"].shape
        for row, frames in enumerate(found.frames):
            np.testing.assert_allclose(found.logits[row, :frames], expected["logits"][row, :frames], atol=2e-5)


@pytest.mark.slow
def test_few_shapes_reach_the_runtime(narrow_file):
    engine, shapes = OpenVinoEngine(narrow_file, threads=1), set()
    engine.run(np.zeros((1, 16_000), np.float32), np.array([16_000]))
    class Watched:
        def infer(self, inputs, **_):
            shapes.add(inputs["input_values"].shape)
            return {"logits": np.zeros((1, 9, 4), np.float32), "frames": np.array([9])}

    idle = engine._compiled.get(1).idle
    idle.clear()
    idle.append(Watched())
    for samples in range(8000, 16_000, 50):
        engine.run(np.zeros((1, samples), np.float32), np.array([samples]))
    assert shapes == {(1, 9600), (1, 12_800), (1, 16_000)}


SIGNALLED = """
import gc, os, signal, sys
from bigfoot.runtime.openvino_engine import OpenVinoEngine
import faulthandler, numpy as np
faulthandler.enable()  # as every Python with an alternate signal stack
came = []
signal.signal(signal.SIGUSR1, lambda *_: came.append(1))
def open_and_run():
    engine = OpenVinoEngine(sys.argv[1], 1)
    engine.run(np.zeros((1, 3200), np.float32), np.array([3200]))
    return engine
first, second = open_and_run(), open_and_run()
del first
gc.collect()
del second
gc.collect()
os.kill(os.getpid(), signal.SIGUSR1)
sys.exit(0 if came else 1)
"""


@pytest.mark.slow
def test_a_signal_after_two_models_were_closed_kills_nobody(narrow_file):
    done = subprocess.run([sys.executable, "-c", SIGNALLED, narrow_file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
