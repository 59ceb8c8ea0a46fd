"""Exported files beside models: opened, run, counted, timed; and what is said of files that are none."""


import pytest
import torch

from bigfoot.errors import ModelError
from bigfoot.export.onnx import build_onnx, save_onnx
from bigfoot.measure import benchmark
from bigfoot.measure.benchmark import measure_benchmark
from bigfoot.measure.benchmark_plan import BenchmarkPlan
from bigfoot.measure.peak import build_product
from bigfoot.measure.runtimes import open_runnable
from bigfoot.measure.size import measure_size
from bigfoot.models.folder import LoadedModel, save_model
from bigfoot.report.benchmark import render_benchmark


@pytest.fixture(scope="module")
def places(build_model, processor, tmp_path_factory):
    root, model = tmp_path_factory.mktemp("deployed"), build_model("base", conv_groups=[1, 2, 2, 2, 2, 2, 2])
    save_model(model, processor, root / "model")
    save_onnx(build_onnx(LoadedModel(model, processor)).graph, root / "folder" / "model.onnx")
    return model, root


def test_answers_as_the_model(places):
    model, root = places
    samples = torch.randn(2, 9000)
    for place in (root / "folder", root / "folder" / "model.onnx"):
        opened = open_runnable(str(place))
        assert opened.runtime == "onnxruntime" and opened.config.to_dict() == model.config.to_dict()
        with torch.no_grad():
            torch.testing.assert_close(opened.model(samples)[0], model(samples).logits, atol=1e-4, rtol=0)


def test_benchmark_beside_its_model(places, monkeypatch):
    model, root = places
    monkeypatch.setattr(benchmark, "measure_peak_memory", lambda *_, **__: 1)
    monkeypatch.setattr(benchmark, "find_peak_product", lambda _: build_product(32))
    sources = (str(root / "model"), str(root / "folder"))
    found = measure_benchmark(BenchmarkPlan(sources, seconds=(0.2,), rounds=1))
    own, deployed = found.models
    assert (own.runtime, deployed.runtime) == ("bigfoot", "onnxruntime")
    assert deployed.macs_per_second == own.macs_per_second == measure_size(model, None, 0.2).macs_per_second
    assert deployed.num_unique_params == own.num_unique_params
    assert deployed.size_bytes == (root / "folder" / "model.onnx").stat().st_size
    assert deployed.median_s > 0 and not deployed.by_part and len(own.by_part) == 4
    assert sum(1 for _ in render_benchmark(found)) >= 3


def test_damaged_foreign_and_missing_files_are_told_in_words(places, tmp_path):
    whole = (places[1] / "folder" / "model.onnx").read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "noise": b"\x00\x01 no graph", "empty": b""}.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=f"{name}.onnx: "):
            open_runnable(str(path))
    with pytest.raises(ModelError, match="no such file"):
        open_runnable(str(tmp_path / "none.onnx"))


def test_a_file_of_others_has_no_shape(places, tmp_path):
    import onnx

    graph = onnx.load(places[1] / "folder" / "model.onnx")
    del graph.metadata_props[:]
    onnx.save(graph, tmp_path / "foreign.onnx")
    with pytest.raises(ModelError, match="write it by bigfoot export"):
        open_runnable(str(tmp_path / "foreign.onnx"))
