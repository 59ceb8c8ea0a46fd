"""A model that was loaded and used before a fork answers in the child as in the parent."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FORKED = """
import os, sys, threading, numpy as np
file, threads = sys.argv[1], int(sys.argv[2])
wave = np.random.default_rng(0).standard_normal(48_000).astype(np.float32)
if file.endswith((".onnx", ".xml")):
    from bigfoot.runtime.transcriber import open_engine
    engine = open_engine(file, threads)
else:
    from bigfoot.evaluation.torch_engine import TorchEngine
    from bigfoot.formats.folder import load_model
    engine = TorchEngine(load_model(file), threads)
def run(alone=True):
    return engine.run(wave[None], np.array([len(wave)]), alone).logits
before = run()
children = []
for alone in (True, False):
    child = os.fork()
    if not child:
        np.testing.assert_allclose(run(alone), before, atol=1e-5)
        # Many at once, as a server does.
        jobs = [threading.Thread(target=run, args=(False,)) for _ in range(3)]
        [job.start() for job in jobs], [job.join() for job in jobs]
        if alone:
            sys.exit(5)  # Python and the runtime clean up
        os._exit(0)
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
np.testing.assert_array_equal(run(), before)
assert codes == [5, 0], codes
"""


def run_forked(file, threads=2):
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(file), str(threads)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def narrow(build_model, processor):
    from bigfoot.formats.folder import LoadedModel

    return LoadedModel(build_model("base"), processor)


@pytest.mark.slow
def test_an_onnx_file(narrow, tmp_path):
    pytest.importorskip("onnx")
    from bigfoot.export.onnx import build_onnx

    build_onnx(narrow).save(tmp_path / "model.onnx")
    run_forked(tmp_path / "model.onnx")


@pytest.mark.slow
def test_an_openvino_file(narrow, tmp_path):
    pytest.importorskip("openvino")
    from bigfoot.export.openvino import build_openvino

    build_openvino(narrow).save(tmp_path / "model.xml")
    run_forked(tmp_path / "model.xml")


@pytest.mark.slow
def test_a_model_of_pytorch():
    run_forked("tiny_teacher")
