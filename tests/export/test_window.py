"""LiteRT and ExecuTorch: files for audio up to a longest, run by these runtimes where they are installed."""

import importlib.util
from functools import partial

import numpy as np
import pytest

from bigfoot.audio.chunking import plan_chunks
from bigfoot.data.batches import LoadedUtterance
from bigfoot.errors import ModelError
from bigfoot.evaluation.torch_engine import TorchEngine
from bigfoot.export.command import ExportRequest
from bigfoot.export.exported import is_exported
from bigfoot.export.facts import describe
from bigfoot.export.gate import export_checked
from bigfoot.export.targets import TARGETS
from bigfoot.export.window import cut_to_window
from bigfoot.formats.folder import LoadedModel
from bigfoot.runtime import window_engine
from bigfoot.runtime.attached import attach_facts, read_attached
from bigfoot.runtime.transcriber import Transcriber
from tests.codes import codes
from tests.refusals import refused

MODULES = {"litert": "litert_torch", "executorch": "executorch"}
WINDOW = 10.0
RATE = 16_000


@pytest.fixture
def loaded(build_model, processor):
    return LoadedModel(build_model("base", num_hidden_layers=1), processor)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_the_runtime_answers_as_pytorch(name, loaded, tmp_path):
    if importlib.util.find_spec(MODULES[name]) is None:
        pytest.skip(f"no {MODULES[name]}: see docs/how-to/export.md, which names what its packages need")
    target, rng = TARGETS[name], np.random.default_rng(0)
    target.require()
    waves = [rng.standard_normal(size).astype(np.float32) for size in (400, 719, 50_001, 159_999, 160_000)]
    items = [LoadedUtterance(str(index), "", "", wave) for index, wave in enumerate(waves)]
    exported, parity = export_checked(loaded, None, items, build=partial(target.build, window=WINDOW))
    assert parity.max_difference < 1e-4 and parity.texts_changed == 0 and parity.batch_difference is None
    exported.save(path := tmp_path / f"model{target.suffix}")
    exported.save(path)
    assert is_exported(path) and read_attached(path)["window"] == str(RATE * 10)
    transcriber = Transcriber(path, 1)
    long = rng.standard_normal(25 * RATE).astype(np.float32)
    expected = Transcriber(TorchEngine(loaded), 1, chunk_seconds=WINDOW).transcribe([*waves, long, long[:300]])
    assert [result.text for result in transcriber.transcribe([*waves, long, long[:300]])] == [
        result.text for result in expected
    ]
    with refused(ModelError, 160_000, 160_001):
        transcriber.engine.run(long[None, :160_001], np.array([160_001]))
    path.write_bytes(path.read_bytes()[:2000])
    with refused(ModelError, path.name):
        Transcriber(path, 1)


def test_longer_audio_goes_by_windows(loaded, tmp_path, monkeypatch):
    """Without either runtime: a file whose pass is PyTorch's."""
    facts = describe(loaded.model.config, loaded.processor, batch_invariant=False)
    path, engine, sizes = tmp_path / "model.tflite", TorchEngine(loaded), []
    path.write_bytes(attach_facts(b"a graph", facts | {"window": "160000"}))

    def open_file(found, window, threads):
        assert (found, window, threads) == (path, 160_000, 1) and found.read_bytes().startswith(b"a graph")

        def run(samples):
            sizes.append(len(samples))
            output = engine.run(samples[None], np.array([len(samples)]))
            return output.logits[0], int(output.frames[0])

        return run

    monkeypatch.setitem(window_engine.OPEN, ".tflite", open_file)
    long = np.random.default_rng(1).standard_normal(25 * RATE).astype(np.float32)
    expected = Transcriber(engine, 1, chunk_seconds=WINDOW).transcribe([long, long[:5000]])
    assert Transcriber(path, 1).transcribe([long, long[:5000]]) == expected
    chunks = plan_chunks(len(long), 320, 160_000, 64_000)
    assert sizes == [*(chunk.end - chunk.start for chunk in chunks), 5000] and max(sizes) <= 160_000


def test_files_that_are_no_such_files(loaded, tmp_path):
    path = tmp_path / "model.pte"
    with refused(ModelError, "model.pte"):
        Transcriber(path)
    path.write_bytes(b"a program of another")
    assert not is_exported(path)
    with refused(ModelError, "model.pte"):
        Transcriber(path)
    for metadata in ({"bigfoot_format": "1"}, describe(loaded.model.config, loaded.processor)):
        path.write_bytes(attach_facts(b"", metadata))
        with refused(ModelError, "model.pte"):
            Transcriber(path)


def test_utterances_are_cut_to_the_window():
    items = [LoadedUtterance(str(n), "A", "s", np.zeros(n, np.float32)) for n in (5, 16, 17)]
    assert cut_to_window(items[:2], 1.0, 16) == items[:2]
    assert [(len(item.samples), item.text) for item in cut_to_window(items, 1.0, 16)] == [(5, ""), (16, ""), (16, "")]


def test_options(tmp_path):
    request = partial(ExportRequest, "tiny_teacher")
    assert codes(request(tmp_path / "a.tflite", to="litert", window=9.0).find_problems()) == [
        ("--window", "out_of_range")
    ]
    assert codes(request(tmp_path / "a.pte", to="executorch", window=40.0).find_problems()) == []
    assert codes(request(tmp_path / "a.onnx", window=12.0).find_unused()) == [("--window", "not_read")]
